"""A limited number of slots, and the queue of waiters for them: first come, first served."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import suppress
from threading import get_ident


class Waiter(asyncio.Future[bool]):
    """The outcome of a wait: whether there was a slot in time."""

    since: float
    """When it came, by ``time.monotonic()``."""


class Slots:
    """Give out so many slots at once; a release passes the slot directly to the first waiter.

    So a newcomer cannot overtake a waiter that was woken. The end of the wait is an outcome of the
    waiter, like the slot itself: only one of the two happens, unlike with a semaphore in a timeout.

    Args:
        number: How many there are; infinity is no limit.
    """

    def __init__(self, number: float) -> None:
        self._number = number
        self._taken = 0
        self._queue: deque[Waiter] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0

    @property
    def waiting(self) -> int:
        """How many waiters there are."""
        return len(self._queue)

    @property
    def longest_wait(self) -> float:
        """For how many seconds the first waiter has been waiting; 0 if there is none."""
        return time.monotonic() - self._queue[0].since if self._queue else 0.0

    def take_at_once(self) -> bool:
        """Take a slot if one is free, and return whether; a free one means that the queue is empty."""
        if self._loop is None:
            self._note_loop()
        if self._taken >= self._number:
            return False
        self._taken += 1
        return True

    def resize(self, number: float) -> None:
        """Give out so many from now on; slots beyond that stay taken until they are released."""
        self._number = number
        self._serve()

    def dismiss(self, before: float) -> None:
        """End the wait of those that came before this moment, without a slot."""
        while self._queue and self._queue[0].since < before:
            waiter = self._queue.popleft()
            if not waiter.done():
                waiter.set_result(False)

    async def take(self, timeout: float, *, since: float | None = None) -> bool:  # noqa: ASYNC109
        """Wait in the queue for a slot, and return whether there was one in time.

        Args:
            timeout: Seconds.
            since: When the caller came, by ``time.monotonic()``, if its slot was withdrawn because the
                server refused a connection: it waits before those that came later.
        """
        loop = asyncio.get_running_loop()
        waiter = Waiter(loop=loop)
        waiter.since = time.monotonic() if since is None else since
        self._append(waiter)
        # A slot may be free meanwhile: the garbage collector releases them at any moment.
        self._serve()
        alarm = loop.call_later(timeout, self._give_up, waiter)
        try:
            return await waiter
        except BaseException:
            if waiter.done() and not waiter.cancelled() and waiter.result():
                self.release()
            else:
                self._remove(waiter)
            raise
        finally:
            alarm.cancel()

    def release(self) -> None:
        """Pass the slot to the first waiter; from any thread, as the garbage collector does."""
        if self._loop is None or get_ident() == self._thread:
            self._taken -= 1
            if self._queue:
                self._serve()
        else:
            with suppress(RuntimeError):  # the loop is closed: the queue is empty
                self._loop.call_soon_threadsafe(self._release)

    def _note_loop(self) -> None:
        with suppress(RuntimeError):  # without a loop there are no waiters
            self._loop, self._thread = asyncio.get_running_loop(), get_ident()

    def _release(self) -> None:
        self._taken -= 1
        self._serve()

    def _append(self, waiter: Waiter) -> None:
        position = len(self._queue)
        while position and self._queue[position - 1].since > waiter.since:
            position -= 1
        self._queue.insert(position, waiter)

    def _serve(self) -> None:
        while self._taken < self._number and self._queue:
            waiter = self._queue.popleft()
            if not waiter.done():
                self._taken += 1
                waiter.set_result(True)

    def _give_up(self, waiter: Waiter) -> None:
        if not waiter.done():
            self._remove(waiter)
            waiter.set_result(False)

    def _remove(self, waiter: Waiter) -> None:
        with suppress(ValueError):
            self._queue.remove(waiter)
