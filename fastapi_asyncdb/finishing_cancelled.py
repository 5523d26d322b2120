"""Work whose caller was cancelled, or whose time is up: it still has a grace period to its end."""

from __future__ import annotations

import asyncio
import math
import types
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from typing import Any, NoReturn, TypeVar

from anyio import CancelScope, current_effective_deadline

T = TypeVar("T")
Waiting = Generator[Any, None, T]

_STALL = 0.5
"""Seconds by which a timer is late when the event loop, or the whole machine, has stood still."""
AFTER_STALL = 1.0
"""Seconds that the work has then: until it runs again it had no chance to meet its deadline."""


def stalled(deadline: float) -> bool:
    """Return whether the event loop has stood still, since the deadline is long over."""
    return asyncio.get_running_loop().time() - deadline > _STALL


def resume(work: Coroutine[Any, Any, Any], future: Any) -> Any:
    """Let the work go on; return what it waits for next.

    Args:
        work: Suspended.
        future: What it waited for. One of a ``finish_here()`` inside of it that was interrupted has no
            result that it could raise, and so it gets the cancellation here.
    """
    if getattr(future, "is_interrupted", False):
        return work.throw(asyncio.CancelledError())
    return work.send(None)


class CancelledWork:
    """Drive suspended work to its end, although its caller is cancelled.

    Args:
        work: The work; it has been started.
        future: What it waits for; ``None`` for the next round of the event loop.
        deadline: When its time is up, on the clock of the event loop.
        grace: Returns the seconds that it has once the caller is cancelled; called again when they
            are over.
        after_cancellation: Seconds that it has once it was cancelled, and once it was cancelled again.
    """

    def __init__(
        self,
        work: Coroutine[Any, Any, Any],
        future: Any,
        deadline: float,
        grace: Callable[[], float],
        after_cancellation: tuple[float, float],
    ) -> None:
        self._work = work
        self._future = future
        self._deadline = self._limit = deadline
        self._grace = grace
        self._periods = after_cancellation
        self._loop = asyncio.get_running_loop()
        self._cancelled: asyncio.CancelledError | None = None
        self._cancelled_at = math.inf
        self._by_scope = False
        self._expired = False

    def run(self, cancelled: asyncio.CancelledError | None) -> Waiting[Any]:
        """Run the rest of the work; raise as ``finish_here`` does.

        Args:
            cancelled: The cancellation of the caller; ``None`` if the time is up.
        """
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
        self._cancelled_at = self._loop.time()
        self._deadline = min(self._deadline, self._cancelled_at + self._grace())

    def _drive(self) -> Waiting[Any]:
        periods = [*reversed(self._periods)]
        try:
            while True:
                yield from self._wait()
                if self._future is None or self._future.done():
                    self._future = resume(self._work, self._future)
                    continue
                if stalled(self._deadline):
                    self._deadline = self._loop.time() + AFTER_STALL
                    continue
                if not self._expired and self._has_come_further():
                    continue
                self._expired = True
                self._future.cancel()
                if not periods:
                    self._leave_alone()
                self._deadline = self._loop.time() + periods.pop()
        except StopIteration as returned:
            return returned.value

    def _has_come_further(self) -> bool:
        """Look again at the time that the work has: meanwhile it may have got as far as its COMMIT."""
        if self._cancelled is not None:
            self._deadline = min(self._limit, self._cancelled_at + self._grace())
        return self._deadline > self._loop.time()

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
        rest = self._loop.create_task(_go_on(self._work, self._future))
        rest.add_done_callback(lambda task: task.cancelled() or task.exception())
        raise asyncio.CancelledError


def _wake(step: asyncio.Future[None]) -> None:
    if not step.done():
        step.set_result(None)


async def _go_on(work: Coroutine[Any, Any, Any], future: Any) -> None:
    await _rest(work, future)


@types.coroutine
def _rest(work: Coroutine[Any, Any, Any], future: Any) -> Waiting[None]:
    # A future says so to the task that it is yielded to; it may be that of a finish_here() inside.
    future._asyncio_future_blocking = True
    try:
        while True:
            if not getattr(future, "is_interrupted", False):
                with suppress(BaseException):  # what the future raises, it raises in the work
                    yield future
            future = resume(work, future)
    except StopIteration:
        return
