"""Finishes what must not be left halfway, although its caller is cancelled. Knows no database."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import TypeVar

from anyio import CancelScope, current_effective_deadline

T = TypeVar("T")

# What a task may still do after it was itself cancelled, and after it was cancelled once more: say
# goodbye to a server that does not answer. Seconds.
_LAST_WORDS = (5.0, 3.0)


async def finish(  # noqa: C901 - every way out matters, and they share their state
    task: asyncio.Task[T],
    *,
    patience: Callable[[], float] = lambda: math.inf,
    limit: float = math.inf,
) -> T:
    """Wait for the task to the end; pass on a cancellation that came meanwhile only then.

    A COMMIT that is abandoned halfway has an unknown outcome, a ROLLBACK a lost connection. A plain
    ``task.cancel()`` and AnyIO's cancel scopes are held off alike.

    Args:
        task: The work.
        patience: Called when the caller is cancelled; returns the seconds that the task has left.
        limit: Seconds that the task has in any case.

    Returns:
        The task's result.

    Raises:
        BaseException: the task's own failure, which matters more than a cancellation.
        asyncio.CancelledError: the caller was cancelled, and the task has succeeded or was out of
            time. AnyIO's scopes do not need this after a success: they cancel whatever comes next.
        TimeoutError: the task was cancelled because its ``limit`` was up.
    """
    cancelled: asyncio.CancelledError | None = None
    by_scope = expired = False
    clock = asyncio.get_running_loop().time
    deadline = clock() + limit
    try:
        await _done_by(task, deadline)
    except asyncio.CancelledError as error:
        cancelled = error
        by_scope = current_effective_deadline() == -math.inf
        deadline = min(deadline, clock() + patience())
    # AnyIO cancels again and again whatever waits in a cancelled scope, except behind a shield.
    with CancelScope(shield=True):
        for more in (*_LAST_WORDS, 0.0):
            while not task.done() and clock() < deadline:
                try:
                    await _done_by(task, deadline)
                except asyncio.CancelledError as error:
                    cancelled, by_scope = error, False
                    deadline = min(deadline, clock() + patience())
            if task.done():
                break
            task.cancel()
            expired = True
            deadline = clock() + more
    if not task.done():
        task.add_done_callback(_retrieve)
    if cancelled is not None and (task.cancelled() or not task.done()):
        # The caller's own, by which an AnyIO scope knows that it was meant.
        raise cancelled
    if expired and (task.cancelled() or not task.done()):
        raise TimeoutError
    result = task.result()
    if cancelled is not None and not by_scope:
        raise cancelled
    return result


async def _done_by(task: asyncio.Task[T], deadline: float) -> None:
    left = deadline - asyncio.get_running_loop().time()
    await asyncio.wait([task], timeout=None if math.isinf(left) else max(left, 0))


def _retrieve(task: asyncio.Task[T]) -> None:
    """Take note of a failure that nobody waits for any more."""
    if not task.cancelled():
        task.exception()
