"""How long to wait before the next attempt."""

from __future__ import annotations

import random


def backoff(attempt: int, *, base: float, cap: float) -> float:
    """Return the seconds to wait after an attempt: random, up to a ceiling that doubles.

    https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/

    Args:
        attempt: The attempts made so far, from 1.
        base: The ceiling after the first one, in seconds.
        cap: The highest ceiling, in seconds.
    """
    ceiling = min(cap, base * 2 ** min(attempt - 1, 32))
    return random.uniform(0, ceiling)  # noqa: S311 - jitter, no secret
