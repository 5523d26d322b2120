"""What this library has to reach, and whether it did."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from benchmarks.contenders import OURS
from benchmarks.measures import answers, replicas
from benchmarks.measures.goodput import LIMITED
from benchmarks.measures.repository import VERBS
from benchmarks.run import Numbers

Results = Mapping[str, Numbers]
"""The numbers of each measure."""

PEERS = ("advanced-alchemy", "fastapi-sqla", "fastapi-async-sqlalchemy", "FastSQLA")
REPOSITORIES = ("advanced-alchemy", "fastcrud")
WITHOUT_READ_DB = "fastapi_asyncdb, DB for reads"


@dataclass(frozen=True)
class Target:
    """A limit for one number."""

    label: str
    measure: str
    column: str
    limit: float | Callable[[Results], float]
    at_least: bool = False
    """Whether the limit is the lowest value that is good; else it is the highest."""
    contender: str = OURS.name

    def value(self, results: Results) -> float | None:
        """Return our number; ``None`` if it was not measured."""
        return results.get(self.measure, {}).get(self.contender, {}).get(self.column)

    def bound(self, results: Results) -> float:
        """Return the limit; not a number if there is none in this run."""
        return self.limit(results) if callable(self.limit) else self.limit

    def is_met(self, results: Results) -> bool:
        """Return whether our number was measured, and keeps to the limit."""
        value = self.value(results)
        if value is None:
            return False
        bound = self.bound(results)
        return value >= bound if self.at_least else value <= bound


def best_peer(column: str) -> Callable[[Results], float]:
    """Return what finds the highest throughput of a peer."""
    return partial(_best, "throughput", column, PEERS, max)


def best_repository(column: str) -> Callable[[Results], float]:
    """Return what finds the lowest CPU time of another repository."""
    return partial(_best, "repository", column, REPOSITORIES, min)


def five_times_the_best_peer(results: Results) -> float:
    """Return five times the most answers per second of a peer."""
    return 5 * _best("answers", answers.RATE, PEERS, max, results)


def _best(
    measure: str,
    column: str,
    peers: Sequence[str],
    best: Callable[[Sequence[float]], float],
    results: Results,
) -> float:
    numbers = results.get(measure, {})
    values = [numbers[peer][column] for peer in peers if column in numbers.get(peer, {})]
    return best(values) if values else math.nan


READS = "reads/s / textbook"
WRITES = "writes/s / textbook"
TARGETS = (
    Target("round trips of a read", "round_trips", "read", 1),
    Target("round trips of a write", "round_trips", "write", 4),
    Target("round trips of a read through PgBouncer", "round_trips", "read through PgBouncer", 1),
    Target("round trips of a write through PgBouncer", "round_trips", "write through PgBouncer", 4),
    Target("CPU of a read, textbook = 1", "cpu", "read / textbook", 0.73),
    Target("CPU of a write, textbook = 1", "cpu", "write / textbook", 0.90),
    Target("latency of a read at 5 ms, textbook = 1", "latency", "read at 5 ms / textbook", 0.20),
    Target("latency of a write at 5 ms, textbook = 1", "latency", "write at 5 ms / textbook", 0.60),
    Target("reads/s at 16 clients, textbook = 1", "throughput", READS, 1.3, at_least=True),
    Target("reads/s, the best peer", "throughput", READS, best_peer(READS), at_least=True),
    Target("writes/s at 16 clients, textbook = 1", "throughput", WRITES, 1.1, at_least=True),
    Target("writes/s, the best peer", "throughput", WRITES, best_peer(WRITES), at_least=True),
    Target("p99 of these reads, textbook = 1", "throughput", "read p99 ms / textbook", 0.10),
    Target(
        "connections opened per 1,000 requests", "throughput", "connections opened per 1,000", 1
    ),
    Target("200 clients on 5 connections: failures", "queue", "failed", 0),
    Target("200 clients on 5 connections: p99, ms", "queue", "p99 ms", 900),
    Target("goodput at 4 times the capacity / peak", "goodput", "4x / peak", 0.9, at_least=True),
    Target(
        "the same with max_waiting",
        "goodput",
        "4x / peak",
        0.9,
        at_least=True,
        contender=LIMITED.name,
    ),
    Target(
        "p99 of refusals with max_waiting, ms",
        "goodput",
        "refusal p99 ms at 4x",
        50,
        contender=LIMITED.name,
    ),
    Target("open streams with ReadDB", "streams", "streams", 1000, at_least=True),
    Target(
        "open streams with DB and commits",
        "streams",
        "streams that commit",
        1000,
        at_least=True,
        contender=WITHOUT_READ_DB,
    ),
    Target("MB more after 50,000 requests", "memory", "MB more", 1),
    Target(
        "CPU of a read with replicas, without = 1",
        "replicas",
        "read / above",
        1.03,
        contender=replicas.REPLICAS.name,
    ),
    *(
        Target(
            f"CPU of a {kind} with read your writes, without = 1",
            "replicas",
            f"{kind} / above",
            1.08,
            contender=replicas.SEES_WRITES.name,
        )
        for kind in replicas.KINDS
    ),
    Target(
        "reads/s with two replicas, the primary alone = 1",
        "replicas",
        f"reads/s, 5 ms asleep / {replicas.ALONE.name}",
        1.5,
        at_least=True,
        contender=replicas.REPLICAS.name,
    ),
    *(
        Target(
            f"round trips of a {kind} with read your writes",
            "replicas",
            f"round trips of a {kind}",
            limit,
            contender=replicas.SEES_WRITES.name,
        )
        for kind, limit in (("write", 4), ("read", 1))
    ),
    *(
        Target(f"CPU of an answer, {kind}, textbook = 1", "answers", f"{kind} / textbook", limit)
        for kind, limit in (("one row", 0.42), ("100 rows", 0.24), ("with relations", 0.12))
    ),
    *(
        Target(f"the same with PostgreSQL's, {kind}", "answers", f"{kind}, both / textbook", 1)
        for kind in answers.KINDS
    ),
    Target(
        "answers/s with relations, five times the best peer",
        "answers",
        answers.RATE,
        five_times_the_best_peer,
        at_least=True,
    ),
    Target("MB of a stream of 10,000 rows", "answers", "MB, stream", 8),
    Target("CPU of get, by hand = 1", "repository", "get / by hand", 1.05),
    Target("CPU of a page of 50, by hand = 1", "repository", "page of 50 / by hand", 1.10),
    *(
        Target(f"CPU of {verb}, the best peer", "repository", column, best_repository(column))
        for verb, column in ((verb, f"{verb} / by hand") for verb in VERBS)
    ),
    *(
        Target(
            f"{kind} in {database}, by hand = 1",
            "bulk",
            f"{kind}/s, {database} / by hand",
            limit,
            at_least=True,
        )
        for database, limit in (("PostgreSQL", 3), ("SQLite", 0.9))
        for kind in ("creates", "upserts")
    ),
    Target("MB more for ten times the rows", "bulk", "MB more, PostgreSQL", 1),
    Target("the same in SQLite", "bulk", "MB more, SQLite", 1),
    Target("page 10,000 by key, page 1 = 1", "pages", "far / first by key", 1.2),
    Target("page 10,000 by time, page 1 = 1", "pages", "far / first by time", 1.2),
)
