"""A gate that lets a limited number in, first come, first served. Knows no database."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from contextlib import suppress
from threading import get_ident


class Turn(asyncio.Future[bool]):
    """The outcome of a wait: whether there was a place in time."""

    since = math.inf


class Gate:
    """Let so many in at once, and the next in line whenever one leaves.

    Whoever leaves hands the place over, so that a newcomer cannot take it from under the next in
    line. The end of the wait is an outcome of the turn, like the place itself: unlike a semaphore
    inside a timeout, the two cannot meet halfway.

    Args:
        width: How many may be in; infinity is no limit.
    """

    def __init__(self, width: float) -> None:
        self._width = width
        self._inside = 0
        self._line: deque[Turn] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._line)

    def enter_at_once(self) -> bool:
        """Go in, if there is a place; a free one means that nobody waits."""
        if self._loop is None:
            self._settle_in()
        if self._inside >= self._width:
            return False
        self._inside += 1
        return True

    def resize(self, width: float) -> None:
        """Let so many in from now on; those who are in already may stay, also if they are more."""
        self._width = width
        self._admit()

    async def enter(self, patience: float, *, since: float = math.inf) -> bool:
        """Wait in line, and tell whether it was our turn within so many seconds.

        Args:
            patience: Seconds.
            since: When the caller came for the first time, if it was in and had to leave for no fault
                of its own. It stands before those who have never been in, behind those who came
                earlier.
        """
        loop = asyncio.get_running_loop()
        turn = Turn(loop=loop)
        turn.since = since
        self._line_up(turn)
        # Somebody may have left meanwhile: the garbage collector runs where it likes.
        self._admit()
        alarm = loop.call_later(patience, self._dismiss, turn)
        try:
            return await turn
        except BaseException:
            if turn.done() and not turn.cancelled() and turn.result():
                self.leave()
            else:
                self._forget(turn)
            raise
        finally:
            alarm.cancel()

    def leave(self) -> None:
        """Hand the place to the next in line; from any thread, as the garbage collector does."""
        if self._loop is None or get_ident() == self._thread:
            self._leave()
        else:
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                self._loop.call_soon_threadsafe(self._leave)

    def _settle_in(self) -> None:
        with suppress(RuntimeError):  # no loop: nobody can wait either
            self._loop, self._thread = asyncio.get_running_loop(), get_ident()

    def _leave(self) -> None:
        self._inside -= 1
        self._admit()

    def _line_up(self, turn: Turn) -> None:
        if turn.since == math.inf:
            self._line.append(turn)
        else:
            place = sum(other.since <= turn.since for other in self._line)
            self._line.insert(place, turn)

    def _admit(self) -> None:
        while self._inside < self._width and self._line:
            turn = self._line.popleft()
            if not turn.done():
                self._inside += 1
                turn.set_result(True)

    def _dismiss(self, turn: Turn) -> None:
        if not turn.done():
            self._forget(turn)
            turn.set_result(False)

    def _forget(self, turn: Turn) -> None:
        with suppress(ValueError):
            self._line.remove(turn)
