"""Log records in bounded number, for what may happen with each request."""

from __future__ import annotations

import math
import time


class Throttle:
    """Admit a few events in a time, and count those between.

    During an outage, or under overload, every request fails.

    Args:
        seconds: The time.
        burst: How many events it admits.
    """

    def __init__(self, seconds: float = 10.0, burst: int = 1) -> None:
        self._seconds = seconds
        self._burst = self._left = burst
        self._since = -math.inf
        self._omitted = 0

    def admit(self) -> int | None:
        """Count an event.

        Returns:
            How many were not admitted since the last that was; ``None`` if this one is not admitted.
        """
        now = time.monotonic()
        if now - self._since >= self._seconds:
            self._since, self._left = now, self._burst
        if not self._left:
            self._omitted += 1
            return None
        self._left -= 1
        omitted, self._omitted = self._omitted, 0
        return omitted
