"""Finishes what must not be left halfway, although its caller is cancelled. Knows no database."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from anyio import CancelScope, current_effective_deadline

T = TypeVar("T")

# What a task may still do after it was itself cancelled, and after it was cancelled once more: say
# goodbye to a server that does not answer. Seconds.
_LAST_WORDS = (5.0, 3.0)

observers: list[Callable[[asyncio.Task[Any]], None]] = []
"""Called with each ``Shielded.task`` when it is made, in its caller's task; see ``engine.seam``."""


class Shielded(Generic[T]):
    """Work that was started, in a task of its own, and is to be finished.

    Args:
        work: The work.
    """

    __slots__ = ("_work", "over", "task")

    task: asyncio.Task[T]
    over: asyncio.Future[None]
    """Done with the task, and a round of the event loop before anybody hears that from the task."""

    def __init__(self, work: Coroutine[Any, Any, T]) -> None:
        loop = asyncio.get_running_loop()
        self._work = work
        self.over = loop.create_future()
        self.task = loop.create_task(self._run())
        self.task.add_done_callback(self._end)
        for note in observers:
            note(self.task)

    async def _run(self) -> T:
        try:
            return await self._work
        finally:
            self._tell()

    def _tell(self) -> None:
        if not self.over.done():
            self.over.set_result(None)

    def _end(self, task: asyncio.Task[T]) -> None:
        # If it was cancelled before its first step, nobody has done so yet.
        self._work.close()
        self._tell()


async def finish(
    work: Coroutine[Any, Any, T] | Shielded[T],
    *,
    patience: Callable[[], float] = lambda: math.inf,
    limit: float = math.inf,
    last_words: tuple[float, float] | None = None,
) -> T:
    """Wait for the work to its end; pass on a cancellation that came meanwhile only then.

    A COMMIT that is abandoned halfway has an unknown outcome, a ROLLBACK a lost connection. A plain
    ``task.cancel()`` and AnyIO's cancel scopes are held off alike.

    Args:
        work: What to finish. Started already, if its task is of interest.
        patience: Called when the caller is cancelled; returns the seconds that the work has left.
        limit: Seconds that the work has in any case.
        last_words: Seconds that it has after it was itself cancelled, and after once more; ``None`` is
            what the closing of a connection may take.

    Returns:
        The work's result.

    Raises:
        BaseException: the work's own failure, which matters more than a cancellation.
        asyncio.CancelledError: the caller was cancelled, and the work has succeeded or was out of
            time. AnyIO's scopes do not need this after a success: they cancel whatever comes next.
        TimeoutError: the work was cancelled because its ``limit`` was up.
    """
    shielded = work if isinstance(work, Shielded) else Shielded(work)
    deadline = math.inf if limit == math.inf else asyncio.get_running_loop().time() + limit
    cancelled: asyncio.CancelledError | None = None
    try:
        if deadline == math.inf:
            await shielded.over
        else:
            await asyncio.wait([shielded.over], timeout=limit)
    except asyncio.CancelledError as error:
        cancelled = error
    else:
        if shielded.task.done():
            return shielded.task.result()
    return await _outlast(shielded, deadline, patience, last_words or _LAST_WORDS, cancelled)


async def _outlast(  # noqa: C901 - every way out matters, and they share their state
    shielded: Shielded[T],
    deadline: float,
    patience: Callable[[], float],
    last_words: tuple[float, float],
    cancelled: asyncio.CancelledError | None,
) -> T:
    """Wait for work whose caller was cancelled, or whose time is up."""
    task = shielded.task
    by_scope = cancelled is not None and current_effective_deadline() == -math.inf
    expired = False
    clock = asyncio.get_running_loop().time
    if cancelled is not None:
        deadline = min(deadline, clock() + patience())
    # AnyIO cancels again and again whatever waits in a cancelled scope, except behind a shield.
    with CancelScope(shield=True):
        for more in (*last_words, 0.0):
            while not task.done() and clock() < deadline:
                try:
                    await asyncio.wait([task], timeout=_seconds_to(deadline))
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


def _seconds_to(deadline: float) -> float | None:
    left = deadline - asyncio.get_running_loop().time()
    return None if math.isinf(left) else max(left, 0)


def _retrieve(task: asyncio.Task[T]) -> None:
    """Take note of a failure that nobody waits for any more."""
    if not task.cancelled():
        task.exception()
