"""Which ``on_commit`` hooks a test set off. Registers none itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from fastapi_asyncdb.session.hooks import Hook, Hooks


@dataclass(frozen=True, slots=True)
class CapturedHook:
    """A hook that was due. Calling it does what the hook does; await the result of an async one."""

    fn: Callable[..., object]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __call__(self) -> object:
        """Call ``fn(*args, **kwargs)``."""
        return self.fn(*self.args, **self.kwargs)


_Captor = Callable[[CapturedHook], bool]


@contextmanager
def capture_commit_hooks(*, execute: bool = True) -> Iterator[list[CapturedHook]]:
    """Collect the ``on_commit`` hooks whose transaction is committed inside the block.

    In the order in which they are due, from every session, task and thread of the process. Those that
    a rollback dropped are not among them, and ``on_rollback`` hooks never are. A test that tells which
    mail would be sent needs no mail server: ``execute=False``, and look at the arguments.

    Blocks may be nested: each sees what is committed inside of it, and a hook runs only if all of them
    let it.
    https://docs.djangoproject.com/en/stable/topics/testing/tools/#django.test.TestCase.captureOnCommitCallbacks

    Args:
        execute: Run them as usual; ``False`` keeps them from running, and the test may call them.

    Returns:
        A list that fills while the block runs.
    """
    captured: list[CapturedHook] = []

    def capture(hook: CapturedHook) -> bool:
        captured.append(hook)
        return execute

    with _looking_on(capture):
        yield captured


_captors: list[_Captor] = []
"""Those of the blocks that are open, in whichever task or thread."""
_take = Hooks.take


@contextmanager
def _looking_on(captor: _Captor) -> Iterator[None]:
    """Show it each ``on_commit`` hook that is due, which runs only if all of them return true."""
    _captors.append(captor)
    Hooks.take = _take_shown  # type: ignore[method-assign]
    try:
        yield
    finally:
        _captors.remove(captor)
        if not _captors:
            Hooks.take = _take  # type: ignore[method-assign]


def _take_shown(self: Hooks) -> list[Hook]:
    return [hook for hook in _take(self) if not hook.after_commit or _is_let(hook)]


def _is_let(hook: Hook) -> bool:
    # First all, then the verdict: each of them is to see it.
    verdicts = [captor(CapturedHook(hook.fn, hook.args, hook.kwargs)) for captor in _captors]
    return all(verdicts)
