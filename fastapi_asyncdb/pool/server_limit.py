"""The limit of a pool while its server accepts no more connections."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Callable

from fastapi_asyncdb.pool.waiters import Slots

logger = logging.getLogger(__name__)

_QUIET = 10.0
"""Seconds between two warnings."""
_PAUSE = 1.0
"""Seconds after a refusal before the pool asks for one more connection, at most."""
_SHORTEST_PAUSE = 0.05
"""The same at first, if the pool has no connection at all; doubled with each refusal."""


class ServerLimit:
    """Lower a pool's slots to the connections that it has, when the server refuses to make more.

    Requests then wait for those of the pool, in the queue. After a pause one of them may try to connect
    again; each connection that is made lets one more try, up to the pool's own limit.

    Args:
        slots: The pool's.
        limit: Their number while the server has room: pool_size + max_overflow.
        pool_size: For the warning.
        count_open: Returns how many connections the pool has.
    """

    advice = (
        "Most likely the processes of this application may together open more connections than the "
        "server accepts. Lower DATABASE_POOL_SIZE and DATABASE_MAX_OVERFLOW, or raise max_connections "
        "of the server: (pool_size + max_overflow) x processes < max_connections - "
        "superuser_reserved_connections."
    )

    def __init__(
        self, slots: Slots, limit: float, pool_size: int, count_open: Callable[[], int]
    ) -> None:
        self._slots = slots
        self._limit = limit
        self._pool_size = pool_size
        self._open = count_open
        self._number = limit
        self._refusals = 0
        self._alarm: asyncio.TimerHandle | None = None
        self._warned_at = -math.inf
        self.refusal: str | None = None
        """The server's message, as long as it limits the pool."""
        self.has_accepted = False
        """Whether the server has ever accepted a connection of the pool."""

    def accept(self) -> None:
        """Note that a connection was made; one more may be tried."""
        self.has_accepted = True
        if self.refusal is not None:
            self._refusals = 0
            self._resize(self._number + 1)

    def refuse(self, error: BaseException) -> None:
        """Note that the server has refused a connection, and let no more be tried for a while."""
        self.refusal = " ".join(str(error).split())
        self._refusals += 1
        self._warn()
        self._resize(self._open())
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = asyncio.get_running_loop().call_later(self._pause(), self._try_one_more)

    def describe(self) -> str:
        """Return the fact, for a message."""
        return (
            f"the server accepts no more than the {self._open()} that this pool has open, of at most "
            f"{self._own_limit()}, and said: {self.refusal}"
        )

    def _own_limit(self) -> str:
        overflow = self._limit - self._pool_size
        return f"{self._limit} (pool_size {self._pool_size} + max_overflow {overflow})"

    def _warn(self) -> None:
        now = time.monotonic()
        if now - self._warned_at >= _QUIET:
            self._warned_at = now
            logger.warning(
                "The server refuses further connections: %s. This pool has %d open, of at most %s; "
                "requests wait for these. %s",
                self.refusal,
                self._open(),
                self._own_limit(),
                self.advice,
            )

    def _pause(self) -> float:
        pause = _PAUSE
        if not self._open():
            pause = min(_PAUSE, _SHORTEST_PAUSE * 2 ** min(self._refusals, 32))
        # Not all processes at the same moment.
        return random.uniform(pause / 2, pause)  # noqa: S311 - jitter, no secret

    def _try_one_more(self) -> None:
        self._alarm = None
        self._resize(self._open() + 1)

    def _resize(self, number: float) -> None:
        self._number = min(number, self._limit)
        if self._number == self._limit:
            self.refusal = None
        self._slots.resize(self._number)
