"""Finishing work although its caller is cancelled: grace periods, ``finish``, ``finish_here``."""

from __future__ import annotations

import asyncio
import math
import types
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary

from fastapi_asyncdb.finishing_cancelled import AFTER_STALL, CancelledWork, Waiting, resume, stalled

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class GracePeriods:
    """Seconds that work still has when its caller is cancelled, or the other side is silent."""

    ending: float = 10.0
    """A commit or hooks whose caller is cancelled; a rollback in any case, its last part included."""
    closing: float = 3.0
    """Closing a connection."""
    handshake: float = 2.0
    """The answer of a server to a request to cancel a statement."""
    answer: float = 5.0
    """The answer to a statement, beyond the timeout that the server keeps."""
    opening: float = 5.0
    """Opening a file whose caller is cancelled."""
    after_cancellation: tuple[float, float] = (5.0, 3.0)
    """Work that was itself cancelled, and that was cancelled once more: a driver may still close its
    connection."""


GRACE = GracePeriods()


async def finish(
    work: Coroutine[Any, Any, T] | asyncio.Task[T],
    *,
    grace: Callable[[], float] = lambda: math.inf,
    limit: float = math.inf,
    after_cancellation: tuple[float, float] | None = None,
) -> T:
    """Run the work in a task of its own, to its end, and wait for it; see ``finish_here``.

    For work that may use ``asyncio.timeout``, which cancels the task that it runs in; or for a task
    that runs already.
    """
    return await finish_here(
        _in_own_task(work), grace=grace, limit=limit, after_cancellation=after_cancellation
    )


_callers: WeakKeyDictionary[asyncio.Task[Any], asyncio.Task[Any]] = WeakKeyDictionary()


def caller_of(task: asyncio.Task[Any]) -> asyncio.Task[Any] | None:
    """Return the task that has started this one, for ``finish`` or ``gather``, and waits for it."""
    return _callers.get(task)


def note_caller(task: asyncio.Task[Any]) -> None:
    """Note that the running task has started this one, and waits for it."""
    _callers[task] = cast("asyncio.Task[Any]", asyncio.current_task())


async def _in_own_task(work: Coroutine[Any, Any, T] | asyncio.Task[T]) -> T:
    task = work if isinstance(work, asyncio.Task) else asyncio.create_task(work)
    note_caller(task)
    return await task


@types.coroutine
def finish_here(  # noqa: C901 - one loop, whose steps share what it has suspended
    work: Coroutine[Any, Any, T],
    *,
    grace: Callable[[], float] = lambda: math.inf,
    limit: float = math.inf,
    after_cancellation: tuple[float, float] | None = None,
) -> Waiting[T]:
    """Run the work to its end; raise a cancellation of the caller only then.

    A COMMIT that is abandoned halfway has an unknown outcome, a ROLLBACK a lost connection. A plain
    ``task.cancel()`` and AnyIO's cancel scopes are deferred alike. The work runs in the caller's task,
    which costs less than a task of its own. So it must not use ``asyncio.timeout``.

    Args:
        work: What to finish.
        grace: Called when the caller is cancelled; returns the seconds that the work has from then on.
            Called again when they are over, since the work may have come further.
        limit: Seconds that the work has in any case.
        after_cancellation: Seconds that it has once it was itself cancelled, and once it was cancelled
            again; ``None`` takes those of ``GRACE``.

    Returns:
        The work's result.

    Raises:
        BaseException: the work's own failure, which matters more than a cancellation.
        asyncio.CancelledError: the caller was cancelled, and the work has succeeded or was out of
            time. AnyIO's scopes do not need this after a success: they cancel what comes next.
        TimeoutError: the work was cancelled because its ``limit`` was up.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + limit
    waiting = _Interruptible()
    if limit < math.inf:
        waiting.set_alarm(deadline)
    try:
        future = work.send(None)
        while True:
            try:
                if future is None:  # the next round of the event loop
                    yield None
                else:
                    future._asyncio_future_blocking = False
                    waiting._asyncio_future_blocking = True
                    waiting.future, waiting.get_loop = future, future.get_loop
                    yield waiting
            except GeneratorExit:
                work.close()
                raise
            except asyncio.CancelledError as error:
                if future is None or waiting.interrupted or waiting.expired:
                    cancelled = error if future is None or waiting.interrupted else None
                    waiting.stop_alarm()
                    periods = after_cancellation or GRACE.after_cancellation
                    rest = CancelledWork(work, future, deadline, grace, periods)
                    return (yield from rest.run(cancelled))  # type: ignore[no-any-return]
            except BaseException:  # noqa: S110 - the future's failure, which it raises in the work
                pass
            future = resume(work, future)
    except StopIteration as returned:
        return returned.value  # type: ignore[no-any-return]
    finally:
        waiting.stop_alarm()


class _Interruptible:
    """A future around the one that the work waits for: a cancellation of the task does not cancel that.

    It has the methods that asyncio's tasks call on a future, and no others:
    https://docs.python.org/3/library/asyncio-extending.html#future-lifetime-support
    """

    _asyncio_future_blocking: bool
    future: Any = None
    get_loop: Any = None
    interrupted = False
    """Whether the caller was cancelled."""
    expired = False
    """Whether the time is up."""
    alarm: asyncio.Handle | None = None
    deadline = math.inf

    def done(self) -> bool:
        return self.is_interrupted or bool(self.future.done())

    @property
    def is_interrupted(self) -> bool:
        """Whether the task was woken although the future is not done."""
        return self.interrupted or self.expired

    def add_done_callback(self, wake: Callable[[Any], object], *, context: Any = None) -> None:
        self._wake, self._context = wake, context
        self.future.add_done_callback(wake, context=context)

    def remove_done_callback(self, wake: Callable[[Any], object]) -> int:
        return self.future.remove_done_callback(wake)  # type: ignore[no-any-return]

    def cancel(self, msg: Any = None) -> bool:
        self.interrupted = True
        if self.expired or self.future.done():
            return False  # the task wakes already, and is cancelled then
        self._interrupt(msg)
        return True

    def expire(self) -> None:
        """Wake the task because the time is up."""
        if self.interrupted:
            return
        if stalled(self.deadline):
            self.set_alarm(asyncio.get_running_loop().time() + AFTER_STALL)
        elif self.future is None or self.future.done():
            # The task wakes already. It is looked at again when it waits for something else.
            self.alarm = asyncio.get_running_loop().call_soon(self.expire)
        else:
            self.expired = True
            self._interrupt(None)

    def set_alarm(self, deadline: float) -> None:
        self.deadline = deadline
        self.alarm = asyncio.get_running_loop().call_at(deadline, self.expire)

    def stop_alarm(self) -> None:
        if self.alarm is not None:
            self.alarm.cancel()

    def _interrupt(self, msg: Any) -> None:
        self.future.remove_done_callback(self._wake)
        cancelled = self.get_loop().create_future()
        cancelled.add_done_callback(self._wake, context=self._context)
        cancelled.cancel(msg)
