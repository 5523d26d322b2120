"""What replicas cost a request, and how many more reads they serve."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial

from benchmarks.caller import Caller
from benchmarks.contenders import Contender, Pool
from benchmarks.load import Load, Outcome, send_requests
from benchmarks.proxy import Proxy
from benchmarks.run import Numbers, Run, with_ratios
from benchmarks.server import Server
from benchmarks.side_by_side import SideBySide
from benchmarks.standbys import standbys, url_at

ALONE = Contender("the primary alone", "replicas:create_app")
REPLICAS = Contender("two replicas", "replicas:create_app")
SEES_WRITES = Contender(
    "two replicas, read your writes", "replicas:create_app_with_read_your_writes"
)
KINDS = {"write": ("POST", "/items"), "read": ("GET", "/items/1")}
"""In this order: reads have the cookie of a write."""
QUERIES = {"5 ms asleep": "/sleep/5", "50 ms asleep": "/sleep/50", "5 ms of a core": "/compute"}
"""On a busy machine the application limits the first, and the connections the second."""
REQUESTS = 200
"""Enough for the questions of the watch, a few a second, to be less than half of one for each."""
WORKERS = 2
CLIENTS = 8
"""Of each worker."""
POOL = Pool(size=1, overflow=0)
"""One connection of each worker to each server: these are the bottleneck, not the two cores."""


def measure(run: Run) -> Numbers:
    """Measure all three applications on the same three servers."""
    with standbys(run.server) as replicas:
        ports = [run.server.port, *(replica.port for replica in replicas)]
        urls = _urls(ports)
        numbers = _cpu(run, urls)
        for more in (_round_trips(run, ports), _rates(run, urls)):
            numbers = {name: values | more.get(name, {}) for name, values in numbers.items()}
    return numbers


def _urls(ports: Sequence[int | None]) -> dict[Contender, str]:
    """Return the URLs of each application: that of the primary, or all."""
    alone, *replicas = map(url_at, ports)
    both = " ".join([alone, *replicas])
    return {ALONE: alone, REPLICAS: both, SEES_WRITES: both}


def _cpu(run: Run, urls: Mapping[Contender, str]) -> Numbers:
    """Return microseconds of CPU of a request, and the ratio to the application above."""
    numbers: Numbers = {contender.name: {} for contender in urls}
    turns = run.effort.requests * run.effort.rounds // 2
    with SideBySide(urls) as side_by_side:
        for kind, call in KINDS.items():
            side_by_side.cpu(*call, 10)
            run.progress(f"CPU of a {kind}")
            costs = side_by_side.cpu(*call, turns)
            above = ALONE.name
            for name, values in costs.items():
                ratios = [own / other for own, other in zip(values, costs[above], strict=True)]
                numbers[name][f"CPU of a {kind}, us"] = statistics.median(values) * 1e6
                numbers[name][f"{kind} / above"] = statistics.median(ratios)
                above = name
    return numbers


def _round_trips(run: Run, ports: Sequence[int | None]) -> Numbers:
    """Return the round trips of a request, to all servers."""
    numbers: Numbers = {}
    with ExitStack() as stack:
        proxies = [stack.enter_context(Proxy(port or 0)) for port in ports]
        for contender, urls in _urls([proxy.port for proxy in proxies]).items():
            run.progress(f"round trips: {contender.name}")
            with Caller(contender, urls) as caller:
                numbers[contender.name] = {
                    f"round trips of a {kind}": _count(caller, proxies, *call)
                    for kind, call in KINDS.items()
                }
    return numbers


def _count(caller: Caller, proxies: Sequence[Proxy], method: str, path: str) -> float:
    caller.call(method, path, REQUESTS)
    before = sum(proxy.round_trips for proxy in proxies)
    caller.call(method, path, REQUESTS)
    # The questions of the watch are a fraction of one.
    return round((sum(proxy.round_trips for proxy in proxies) - before) / REQUESTS)


def _rates(run: Run, urls: Mapping[Contender, str]) -> Numbers:
    """Return the reads for each second of two processes, and the ratio to the primary alone."""

    def sample(servers: Sequence[Server]) -> dict[str, float]:
        return {f"reads/s, {what}": _rate(run, servers, path) for what, path in QUERIES.items()}

    samples = run.interleave(
        [ALONE, REPLICAS], partial(_workers, urls), sample, rounds=run.effort.rounds
    )
    return with_ratios(samples, ALONE.name)


@contextmanager
def _workers(urls: Mapping[Contender, str], contender: Contender) -> Iterator[list[Server]]:
    with ExitStack() as stack:
        yield [
            stack.enter_context(Server(contender, urls[contender], POOL)) for _ in range(WORKERS)
        ]


def _rate(run: Run, servers: Sequence[Server], path: str) -> float:
    def send(server: Server) -> Outcome:
        return send_requests(Load(server.port, "GET", path, CLIENTS, run.effort.seconds * 2))

    with ThreadPoolExecutor(len(servers)) as threads:
        return sum(outcome.rate for outcome in threads.map(send, servers))
