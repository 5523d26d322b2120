"""Latency of one request at a time, with a network of some delay between application and PostgreSQL."""

from __future__ import annotations

import statistics
from contextlib import AbstractContextManager

from benchmarks.caller import Caller
from benchmarks.contenders import Contender
from benchmarks.proxy import ProxyProcess
from benchmarks.run import Numbers, Run, with_ratios

DELAYS = (0, 1, 5)
"""Milliseconds that a round trip takes longer."""
KINDS = {"read": ("GET", "/items/1"), "write": ("POST", "/items")}


def measure(run: Run) -> Numbers:
    """Return milliseconds, and their ratio to the textbook's."""
    with ProxyProcess(run.server.port) as proxy:
        url = run.url_at(proxy.port)

        def open_subject(contender: Contender) -> AbstractContextManager[Caller]:
            return Caller(contender, url)

        def sample(caller: Caller) -> dict[str, float]:
            values = {}
            for delay in DELAYS:
                proxy.set_delay(delay / 1e3)
                for kind, call in KINDS.items():
                    values[f"{kind} at {delay} ms"] = _median(caller, call, run.effort.requests)
            proxy.set_delay(0)
            return values

        return with_ratios(
            run.interleave(run.contenders, open_subject, sample, rounds=run.effort.rounds)
        )


def _median(caller: Caller, call: tuple[str, str], requests: int) -> float:
    """Return milliseconds; a request that waits for the network varies less than its CPU time."""
    return statistics.median(caller.call(*call, max(5, requests // 10)).latencies) * 1e3
