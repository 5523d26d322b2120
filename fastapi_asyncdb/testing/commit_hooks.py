"""``capture_commit_hooks``: the ``on_commit`` hooks that are due in a test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from fastapi_asyncdb.engine.seam import filtering_commit_hooks
from fastapi_asyncdb.session.hooks import Hook


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

    The hooks of every session, task and thread of the process, in the order in which they are due;
    neither hooks that a rollback dropped, nor ``on_rollback`` hooks. With ``execute=False`` a test can
    look at the arguments of a hook that sends mail, without a mail server.

    Blocks may be nested: each sees the hooks that are due inside of it, and a hook runs only if all of
    them execute hooks.
    https://docs.djangoproject.com/en/stable/topics/testing/tools/#django.test.TestCase.captureOnCommitCallbacks

    Args:
        execute: Run the hooks as usual; ``False`` does not run them, and the test may call them.

    Yields:
        A list that grows while the block runs.
    """
    captured: list[CapturedHook] = []

    def capture(hook: Hook) -> bool:
        captured.append(CapturedHook(hook.fn, hook.args, hook.kwargs))
        return execute

    with filtering_commit_hooks(capture):
        yield captured
