"""Finishes what must not be left halfway, although its caller is cancelled. Knows no database."""

from __future__ import annotations

import asyncio
import math
import types
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar, cast
from weakref import WeakKeyDictionary

from anyio import CancelScope, current_effective_deadline

T = TypeVar("T")
Waiting = Generator[Any, None, T]


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

# Seconds by which a timer is late when the event loop, or the whole machine, has stood still.
_STALL = 0.5
# Seconds that the work has then: until it runs again it had no chance to meet its deadline.
_AFTER_STALL = 1.0


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
    """Return the task for which ``finish`` has started this one."""
    return _callers.get(task)


async def _in_own_task(work: Coroutine[Any, Any, T] | asyncio.Task[T]) -> T:
    task = work if isinstance(work, asyncio.Task) else asyncio.create_task(work)
    _callers[task] = cast("asyncio.Task[Any]", asyncio.current_task())
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
    ``task.cancel()`` and AnyIO's cancel scopes are held off alike. The work runs in the caller's task,
    which costs less than a task of its own. So it must not use ``asyncio.timeout``.

    Args:
        work: What to finish.
        grace: Called when the caller is cancelled; returns the seconds that the work still has.
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
    held = _Held()
    if limit < math.inf:
        held.set_alarm(deadline)
    try:
        future = work.send(None)
        while True:
            try:
                if future is None:  # the next round of the event loop
                    yield None
                else:
                    future._asyncio_future_blocking = False
                    held._asyncio_future_blocking = True
                    held.future, held.get_loop = future, future.get_loop
                    yield held
            except GeneratorExit:
                work.close()
                raise
            except asyncio.CancelledError as error:
                if future is None or held.interrupted or held.expired:
                    cancelled = error if future is None or held.interrupted else None
                    held.stop_alarm()
                    rest = _Outlasting(work, future, deadline, grace, after_cancellation)
                    return (yield from rest.run(cancelled))  # type: ignore[no-any-return]
            except BaseException:  # noqa: S110 - the future's failure, which it raises in the work
                pass
            future = work.send(None)
    except StopIteration as returned:
        return returned.value  # type: ignore[no-any-return]
    finally:
        if held.alarm is not None:
            held.stop_alarm()


class _Held:
    """Stands between a task and what it waits for: a cancellation wakes the task and nothing else.

    What asyncio's tasks want of a future, and no more:
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
        return bool(self.future.done())

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
        if _stalled(self.deadline):
            self.set_alarm(asyncio.get_running_loop().time() + _AFTER_STALL)
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


def _stalled(deadline: float) -> bool:
    return asyncio.get_running_loop().time() - deadline > _STALL


class _Outlasting:
    """The rest of work whose caller was cancelled, or whose time is up.

    Args:
        work: Suspended.
        future: What it waits for; ``None`` for the next round of the event loop.
        deadline: When its time is up, on the clock of the event loop.
        grace: Returns the seconds that it has once the caller is cancelled.
        after_cancellation: Seconds that it has once it was cancelled, and once it was cancelled again.
    """

    def __init__(
        self,
        work: Coroutine[Any, Any, Any],
        future: Any,
        deadline: float,
        grace: Callable[[], float],
        after_cancellation: tuple[float, float] | None,
    ) -> None:
        self._work = work
        self._future = future
        self._deadline = deadline
        self._grace = grace
        self._periods = after_cancellation or GRACE.after_cancellation
        self._loop = asyncio.get_running_loop()
        self._cancelled: asyncio.CancelledError | None = None
        self._by_scope = False
        self._expired = False

    def run(self, cancelled: asyncio.CancelledError | None) -> Waiting[Any]:
        if cancelled is not None:
            self._note(cancelled, by_scope=current_effective_deadline() == -math.inf)
        result = None
        try:
            # AnyIO cancels again and again what waits in a cancelled scope, except behind a shield.
            with CancelScope(shield=True):  # noqa: ASYNC100 - a generator awaits by "yield from"
                result = yield from self._drive()
        except asyncio.CancelledError as error:
            if type(error) is not asyncio.CancelledError:
                raise  # it says more than that the work was cancelled
            if self._cancelled is not None:
                # The caller's own, by which an AnyIO scope knows that it was meant.
                raise self._cancelled from None
            if self._expired:
                raise TimeoutError from None
            raise
        if self._cancelled is not None and not self._by_scope:
            raise self._cancelled
        return result

    def _note(self, cancelled: asyncio.CancelledError, *, by_scope: bool) -> None:
        self._cancelled, self._by_scope = cancelled, by_scope
        self._deadline = min(self._deadline, self._loop.time() + self._grace())

    def _drive(self) -> Waiting[Any]:
        periods = [*reversed(self._periods)]
        try:
            while True:
                yield from self._wait()
                if self._future is None or self._future.done():
                    self._future = self._work.send(None)
                    continue
                if _stalled(self._deadline):
                    self._deadline = self._loop.time() + _AFTER_STALL
                    continue
                self._expired = True
                self._future.cancel()
                if not periods:
                    self._leave_alone()
                self._deadline = self._loop.time() + periods.pop()
        except StopIteration as returned:
            return returned.value

    def _wait(self) -> Waiting[None]:
        """Wait until the future is done or the deadline has come, whatever cancels the caller."""
        while True:
            step: asyncio.Future[None] = self._loop.create_future()
            alarm = None
            if self._future is None:
                self._loop.call_soon(_wake, step)
            else:
                self._future.add_done_callback(lambda _, step=step: _wake(step))
                if self._deadline < math.inf:
                    alarm = self._loop.call_at(self._deadline, _wake, step)
            try:
                yield from step
            except asyncio.CancelledError as error:
                self._note(error, by_scope=False)
            else:
                return
            finally:
                if alarm is not None:
                    alarm.cancel()

    def _leave_alone(self) -> NoReturn:
        """Let the rest go on without its caller."""
        rest = self._loop.create_task(_rest(self._work, self._future))
        rest.add_done_callback(lambda task: task.cancelled() or task.exception())
        raise asyncio.CancelledError


def _wake(step: asyncio.Future[None]) -> None:
    if not step.done():
        step.set_result(None)


async def _rest(work: Coroutine[Any, Any, Any], future: Any) -> None:
    with suppress(asyncio.CancelledError):
        await future
    await _resume(work)


@types.coroutine
def _resume(work: Coroutine[Any, Any, Any]) -> Waiting[None]:
    try:
        while True:
            future = work.send(None)
            with suppress(BaseException):  # what the future raises, it raises in the work
                yield future
    except StopIteration:
        return
