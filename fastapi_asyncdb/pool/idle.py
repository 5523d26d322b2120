"""The idle connections of a pool, and the timer that closes those beyond ``pool_size``."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.util.queue import Empty, QueueCommon

IDLE_SINCE = "fastapi_asyncdb.idle_since"
"""The key of a record's ``info``: when the connection was checked in, by ``time.monotonic()``."""


class IdleConnections(QueueCommon[ConnectionPoolEntry]):
    """The queue of SQLAlchemy's pool, without its limit: connections beyond ``pool_size`` stay too.

    It never waits. The pool's slots do that.

    Args:
        maxsize: The ``pool_size``, which SQLAlchemy's pool reads here.
        use_lifo: Whether the connection that was used last is taken first.
    """

    def __init__(self, maxsize: int = 0, use_lifo: bool = False) -> None:  # noqa: FBT001, FBT002
        self.maxsize = maxsize
        self.use_lifo = use_lifo
        # The one that has been idle for longest is the first, in either order.
        self._records: deque[ConnectionPoolEntry] = deque()

    def qsize(self) -> int:
        """Return how many there are."""
        return len(self._records)

    def put(
        self,
        item: ConnectionPoolEntry,
        block: bool = True,  # noqa: FBT001, FBT002
        timeout: float | None = None,
    ) -> None:
        """Add a connection that was checked in."""
        item.info[IDLE_SINCE] = time.monotonic()
        self._records.append(item)

    def get(
        self,
        block: bool = True,  # noqa: FBT001, FBT002
        timeout: float | None = None,
    ) -> ConnectionPoolEntry:
        """Take a connection.

        Raises:
            Empty: there is none.
        """
        if not self._records:
            raise Empty
        return self._records.pop() if self.use_lifo else self._records.popleft()

    def oldest(self) -> float | None:
        """Return when the first was checked in, by ``time.monotonic()``; ``None`` if there is none."""
        return self._records[0].info[IDLE_SINCE] if self._records else None

    def take_oldest(self) -> ConnectionPoolEntry:
        """Take the connection that has been idle for longest."""
        return self._records.popleft()


class OverflowTimer:
    """Close connections beyond ``pool_size`` that have been idle for too long.

    One timer serves all. It runs only while the pool has such connections, and some are idle.

    Args:
        seconds: How long they may be idle.
        idle: The idle connections.
        has_overflow: Returns whether the pool has connections beyond ``pool_size``.
        close: Closes a connection that was taken out of the pool.
    """

    def __init__(
        self,
        seconds: float,
        idle: IdleConnections,
        has_overflow: Callable[[], bool],
        close: Callable[[ConnectionPoolEntry], None],
    ) -> None:
        self.seconds = seconds
        self._idle = idle
        self._has_overflow = has_overflow
        self._close = close
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Start the timer, unless it runs."""
        loop = asyncio.get_running_loop()
        # A loop that was closed has taken its timer along.
        if self._timer is None or self._loop is not loop:
            self._loop = loop
            self._timer = loop.call_later(self.seconds, self._look)

    def stop(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        now = time.monotonic()
        while self._has_overflow() and (since := self._idle.oldest()) is not None:
            left = since + self.seconds - now
            if left > 0:
                self._timer = asyncio.get_running_loop().call_later(left, self._look)
                return
            self._close(self._idle.take_oldest())
