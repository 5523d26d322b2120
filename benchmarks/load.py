"""What clients do and see. The clients themselves run in a process of their own."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.children import Child


@dataclass(frozen=True)
class Load:
    """What the clients do."""

    port: int
    method: str
    path: str
    clients: int
    seconds: float = math.inf
    requests: float = math.inf
    """All clients together."""


@dataclass
class Outcome:
    """What the clients saw."""

    seconds: float
    answered: list[float] = field(default_factory=list)
    """Seconds of each request with a 2xx."""
    failed: list[float] = field(default_factory=list)
    """Seconds of each other request."""
    in_time: int = 0
    """Answered requests before the time was up; the last ones come after it."""

    @property
    def rate(self) -> float:
        """Answered requests for each second."""
        return self.in_time / self.seconds


def send_requests(load: Load) -> Outcome:
    """Let all clients send requests, each one after the other, until the time or their number is up."""
    return Outcome(**_run("requests", load))


def hold_streams(load: Load) -> int:
    """Hold a stream open for each client.

    Returns:
        How many are open at the end, and had an event in the last five seconds.
    """
    return int(_run("streams", load))


def _run(kind: str, load: Load) -> Any:
    with Child("clients", kind, asdict(load)) as child:
        return child.listen()


def percentile(values: list[float], percent: float) -> float:
    """Return the value that so many percent do not exceed; not a number if there are none."""
    if not values:
        return math.nan
    return sorted(values)[min(len(values) - 1, int(len(values) * percent / 100))]
