"""The limit of a pool while its server refuses connections."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from fastapi_asyncdb.errors import CannotConnect
from fastapi_asyncdb.pool.waiters import Slots
from fastapi_asyncdb.throttle import Throttle

logger = logging.getLogger(__name__)

LONGEST_PAUSE = 1.0
"""Seconds after a refusal before the pool asks for one more connection, at most."""
_SHORTEST_PAUSE = 0.05
"""The same at first, if the pool has no connection at all; doubled with each refusal."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a connection could not be made."""

    words: str
    """The driver's, without the password."""
    error: CannotConnect
    """Raised in the tasks that wait for a connection."""
    full: bool
    """Whether the server accepts no more connections for now; otherwise it is down, or refuses all."""


Explain = Callable[[BaseException], Refusal | None]
"""Returns the refusal behind an error; ``None`` if the server has not refused a connection."""


class Full(Exception):
    """The server accepts no more connections; the checkout waits for another one."""


class ServerLimit:
    """Lower a pool's slots to the connections that it has, while the server refuses to make more.

    Requests then wait for those of the pool, in the queue. After a pause one of them may try to connect
    again; each connection that is made lets one more try, up to the pool's own limit. So the server gets
    one attempt at a time, however many tasks wait, and the first that succeeds ends the outage for all.

    A full server has room as soon as another process closes a connection, so tasks go on waiting. If it
    is down, and the pool has no connection left, a failed attempt ends the wait of all tasks that came
    before it began. Later ones wait for the next attempt.

    Args:
        slots: The pool's.
        limit: Their number while the server has room: pool_size + max_overflow.
        pool_size: For the warning.
        count: Returns how many connections the pool has, with those that are being made.
        explain: Explains the error of an attempt.
    """

    advice = (
        "Most likely the processes of this application may together open more connections than the "
        "server accepts. Lower DATABASE_POOL_SIZE and DATABASE_MAX_OVERFLOW, or raise max_connections "
        "of the server: (pool_size + max_overflow) x processes < max_connections - "
        "superuser_reserved_connections."
    )

    def __init__(
        self,
        slots: Slots,
        limit: float,
        pool_size: int,
        count: Callable[[], int],
        explain: Explain,
    ) -> None:
        self._slots = slots
        self._limit = limit
        self._pool_size = pool_size
        self._count = count
        self._explain = explain
        self._number = limit
        self._connecting = 0
        self._refusals = 0
        self._refused_at = -math.inf
        self._alarm: asyncio.TimerHandle | None = None
        self._warnings = Throttle()
        self._away_since: float | None = None
        self.refusal: Refusal | None = None
        """The last one, as long as it limits the pool."""
        self.has_accepted = False
        """Whether the server has ever accepted a connection of the pool."""
        self.announces = True
        """Whether to warn of an outage and of its end, once each."""
        self.name = ""
        """The server's, for messages, where there are several: ``replica db2:5432``."""

    def resume(self, other: ServerLimit) -> None:
        """Go on where the limit of an earlier pool has ended."""
        self.has_accepted, self.announces = other.has_accepted, other.announces
        self.name, self._away_since = other.name, other._away_since

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Make a connection in this block; the outcome raises or lowers the limit.

        Raises:
            Full: the server is full, and has accepted a connection before.
        """
        began = time.monotonic()
        self._connecting += 1
        if self.refusal is not None and self._alarm is None:
            # One that gets no answer must not hold up all others.
            self._alarm_in(LONGEST_PAUSE)
        try:
            yield
        except Exception as error:
            refusal = self._explain(error)
            if refusal is not None:
                # Before the slot is released: the next waiter would only be refused as well.
                self._refuse(refusal, began)
                # At the start the caller decides how long to try.
                if refusal.full and self.has_accepted:
                    raise Full from None
            raise
        else:
            self._accept()
        finally:
            self._connecting -= 1

    def failure(self) -> CannotConnect | None:
        """Return the error of the last attempt, if the server is down and the pool has no connection."""
        if self.refusal is None or self._waits() or self._open():
            return None
        return CannotConnect(self.refusal.error.args[0], self.refusal.error.orig)

    def describe(self) -> str:
        """Return the fact, for a message."""
        words = "" if self.refusal is None else self.refusal.words
        return (
            f"the {self.name or 'server'} accepts no more than the {self._open()} that this pool has "
            f"open, of at most {self._own_limit()}, and said: {words}"
        )

    def forget(self) -> None:
        """Let all connect that have a slot, as if the server had not refused a connection."""
        self.stop()
        self._refusals = 0
        self._resize(self._limit)

    def stop(self) -> None:
        """Stop the timer: the pool is disposed of."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _accept(self) -> None:
        self.has_accepted = True
        if self.refusal is not None:
            self._refusals = 0
            self._resize(self._number + 1)
        if self._away_since is not None:
            seconds = time.monotonic() - self._away_since
            self._away_since = None
            logger.warning(
                "The %s is back: it accepts connections, after %.1f s.",
                self.name or "database",
                seconds,
            )

    def _refuse(self, refusal: Refusal, began: float) -> None:
        self.refusal = refusal
        self._resize(self._open())
        if self._waits():
            self._warn(refusal)
        else:
            self._note_outage(refusal)
            if not self._open():
                self._slots.dismiss(before=began)
        # Attempts that were under way together are one refusal.
        if began >= self._refused_at:
            self._refusals += 1
            self._refused_at = time.monotonic()
            self._alarm_in(self._pause())

    def _note_outage(self, refusal: Refusal) -> None:
        """Warn once of an outage; of one at the start, the start warns."""
        if self._away_since is None and self.announces:
            self._away_since = time.monotonic()
            if self.has_accepted:
                logger.warning(
                    "The %s is away: it accepts no connection, and requests that need a new one "
                    "are answered with 503 until it is back. %s",
                    self.name or "database",
                    refusal.error.args[0],
                )

    def _waits(self) -> bool:
        """Return whether tasks go on waiting, because the server has room as soon as others leave."""
        return self.refusal is not None and self.refusal.full and self.has_accepted

    def _open(self) -> int:
        """Return how many connections are open, in use or idle."""
        return self._count() - self._connecting

    def _own_limit(self) -> str:
        overflow = self._limit - self._pool_size
        return f"{self._limit} (pool_size {self._pool_size} + max_overflow {overflow})"

    def _warn(self, refusal: Refusal) -> None:
        if self._warnings.admit() is not None:
            logger.warning(
                "The %s refuses further connections: %s. This pool has %d open, of at most %s; "
                "requests wait for these. %s",
                self.name or "server",
                refusal.words,
                self._open(),
                self._own_limit(),
                self.advice,
            )

    def _pause(self) -> float:
        pause = LONGEST_PAUSE
        if not self._open():
            pause = min(pause, _SHORTEST_PAUSE * 2 ** min(self._refusals, 32))
        # Not all processes at the same moment.
        return random.uniform(pause / 2, pause)  # noqa: S311 - jitter, no secret

    def _alarm_in(self, seconds: float) -> None:
        self.stop()
        self._alarm = asyncio.get_running_loop().call_later(seconds, self._try_one_more)

    def _try_one_more(self) -> None:
        self._alarm = None
        if self._connecting:
            self._alarm_in(LONGEST_PAUSE)
        self._resize(self._count() + 1)

    def _resize(self, number: float) -> None:
        self._number = min(number, self._limit)
        if self._number == self._limit:
            self.refusal = None
        self._slots.resize(self._number)
