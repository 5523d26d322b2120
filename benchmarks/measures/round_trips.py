"""Round trips between the application and PostgreSQL for one row, also through PgBouncer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

from benchmarks.caller import Caller
from benchmarks.contenders import Contender
from benchmarks.pgbouncer import PROGRAM, pgbouncer
from benchmarks.proxy import Proxy
from benchmarks.run import Numbers, Run, medians

KINDS = {"read": ("GET", "/items/1"), "write": ("POST", "/items")}
REQUESTS = 10
"""Before those that count as many others open the connection and prepare the statements."""


@dataclass(frozen=True)
class Counted:
    """An application that is called, and the proxy that counts."""

    caller: Caller
    proxy: Proxy

    def round_trips(self, method: str, path: str) -> float:
        """Return the round trips of one request."""
        self.caller.call(method, path, REQUESTS)
        before = self.proxy.round_trips
        self.caller.call(method, path, REQUESTS)
        return (self.proxy.round_trips - before) / REQUESTS


def measure(run: Run) -> Numbers:
    """Count at a proxy before PostgreSQL, and at one before PgBouncer, if that is installed."""
    numbers = _count(run, lambda: nullcontext(run.server.port))
    if PROGRAM is None:
        return numbers
    # One for each: the prepared statements of several clients have the same names.
    pooled = _count(run, lambda: pgbouncer(run.server.port), " through PgBouncer")
    return {name: numbers.get(name, {}) | pooled.get(name, {}) for name in {**numbers, **pooled}}


def _count(
    run: Run, open_port: Callable[[], AbstractContextManager[int]], where: str = ""
) -> Numbers:
    @contextmanager
    def open_subject(contender: Contender) -> Iterator[Counted]:
        with (
            open_port() as port,
            Proxy(port) as proxy,
            Caller(contender, run.url_at(proxy.port)) as caller,
        ):
            yield Counted(caller, proxy)

    def sample(counted: Counted) -> dict[str, float]:
        return {f"{kind}{where}": counted.round_trips(*call) for kind, call in KINDS.items()}

    counted = run.interleave(run.contenders, open_subject, sample, rounds=1, warm_up=0)
    return medians(counted)
