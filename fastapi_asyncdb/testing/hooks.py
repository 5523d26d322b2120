"""Which ``on_commit`` hooks a test set off. Registers none itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from fastapi_asyncdb.hooks import captures


@dataclass(frozen=True, slots=True)
class CapturedHook:
    """A hook that was due. Calling it does what the hook does; await the result of an async one."""

    fn: Callable[..., object]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __call__(self) -> object:
        """Call ``fn(*args, **kwargs)``."""
        return self.fn(*self.args, **self.kwargs)


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

    def capture(fn: Callable[..., object], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        captured.append(CapturedHook(fn, args, kwargs))
        return execute

    captures.append(capture)
    try:
        yield captured
    finally:
        captures.remove(capture)
