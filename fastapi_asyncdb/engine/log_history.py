"""``LogHistory``: how far the log of the primary was, and when; for the lag of replicas in seconds."""

from __future__ import annotations

import math
from bisect import bisect_right

_MOST = 1024
_COARSE = 1 / 16
"""How much of its age may lie between a remembered moment and the next one."""


class LogHistory:
    """Positions of the primary's log, and when each of them was last the newest.

    The lag of a replica comes from this clock alone. The server's own measure, the age of the last
    transaction that was replayed, grows while nothing is written.
    """

    def __init__(self) -> None:
        self._positions: list[int] = []
        self._times: list[float] = []

    @property
    def newest(self) -> int:
        """The newest position; -1 if there is none yet."""
        return self._positions[-1] if self._positions else -1

    def add(self, position: int, asked: float) -> None:
        """Note the position of the primary.

        Args:
            position: What it has answered.
            asked: When it was asked, in seconds of any clock: afterwards it may have gone on.
        """
        if position < self.newest:
            # Another server is the primary, which had not received the end of the log.
            self._positions.clear()
            self._times.clear()
        if self._positions and position == self.newest:
            self._times[-1] = asked
            return
        self._positions.append(position)
        self._times.append(asked)
        if len(self._positions) > _MOST:
            self._thin_out(asked)

    def missing(self, replayed: int) -> int:
        """Return the bytes that a replica lacks."""
        return max(0, self.newest - replayed)

    def lag(self, replayed: int, now: float) -> float:
        """Return the seconds since when a replica has lacked something, at most.

        Returns:
            Infinity for a replica that is further behind than the history goes back.
        """
        if replayed >= self.newest:
            return 0.0
        newer = bisect_right(self._positions, replayed)
        return now - self._times[newer - 1] if newer else math.inf

    def _thin_out(self, now: float) -> None:
        """Forget moments: the longer ago, the more, so that hours and days have room."""
        kept = [0]
        for index in range(1, len(self._times) - 1):
            following = self._times[index + 1]
            if following - self._times[kept[-1]] > (now - following) * _COARSE:
                kept.append(index)
        kept.append(len(self._times) - 1)
        self._positions = [self._positions[index] for index in kept]
        self._times = [self._times[index] for index in kept]
