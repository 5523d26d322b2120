"""What do clients of an application lose when the primary is killed again and again?

Two PostgreSQL servers, one of which follows the other, and a URL with both. Clients write and read
through an application while the primary is killed and its standby promoted; the dead server is then made
anew, as the standby of the new primary. With synchronous replication, and without.
``python -m benchmarks.failover [--kills 20] [--driver asyncpg]``
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import psutil

from fastapi_asyncdb.testing import PostgresReplica, PostgresServer, postgres_server
from tests.support.failover import TABLE, Answers, load, stored

Server = PostgresServer | PostgresReplica
LIMIT = 3.0
"""Seconds from the promotion to the next acknowledged write."""
KINDS: dict[str, Any] = {
    "synchronous": {"synchronous": True},
    "asynchronous": {"synchronous": False},
    "asynchronous, 0.1 s behind": {"synchronous": False, "lag": 0.1},
}
BETWEEN = 0.5
"""Seconds of load before each kill."""


@dataclass
class Outcome:
    """What the clients of all kills were told, and how it was."""

    acknowledged: int = 0
    lost: int = 0
    in_doubt: int = 0
    refused: int = 0
    stored_though_refused: int = 0
    reads: int = 0
    failed_reads: int = 0
    seconds: list[float] = field(default_factory=list)
    """From each promotion to the next acknowledged write."""
    away: list[float] = field(default_factory=list)
    """From each kill to the next acknowledged write."""


async def fail_over(
    primary: Server, standby: Server, answers: Answers, outcome: Outcome, lag: float
) -> None:
    """Kill the primary under load, and promote the standby; note how long it took."""
    await asyncio.sleep(BETWEEN)
    if lag:
        sender = await asyncio.to_thread(primary.psql, "SELECT pid FROM pg_stat_replication")
        psutil.Process(int(sender)).suspend()
        await asyncio.sleep(lag)
    killed = time.perf_counter()
    await asyncio.to_thread(primary.kill)
    await asyncio.to_thread(standby.promote)
    promoted = time.perf_counter()
    await answers.writes(1)
    written = time.perf_counter()
    outcome.seconds.append(written - promoted)
    outcome.away.append(written - killed)


async def kill_again_and_again(
    driver: str, kills: int, *, synchronous: bool, lag: float = 0.0
) -> Outcome:
    """Return the outcome of so many kills in a row, in one run of the application.

    Args:
        driver: asyncpg or psycopg.
        kills: How many.
        synchronous: Whether commits wait for the standby.
        lag: Seconds before each kill in which the primary sends nothing to its standby.
    """
    outcome = Outcome()
    with servers(synchronous=synchronous) as (primary, standby):
        hosts = f"127.0.0.1:{primary.port},127.0.0.1:{standby.port}"
        async with load(f"postgresql+{driver}://postgres@{hosts}/postgres") as answers:
            for _ in range(kills):
                await fail_over(primary, standby, answers, outcome, lag)
                await asyncio.to_thread(primary.follow, standby, synchronous=synchronous)
                primary, standby = standby, primary
        count(answers, stored(primary), outcome)
    return outcome


@contextlib.contextmanager
def servers(*, synchronous: bool) -> Iterator[tuple[Server, Server]]:
    """Run a primary with the table, and its standby."""
    with postgres_server() as first:
        first.psql(TABLE)
        with first.replica(synchronous=synchronous) as second:
            yield first, second


def count(answers: Answers, rows: set[int], outcome: Outcome) -> None:
    """Compare what clients were told with the rows that are there in the end."""
    outcome.acknowledged = len(answers.acknowledged)
    outcome.lost = len(answers.lost(rows))
    outcome.in_doubt = len(answers.in_doubt)
    outcome.refused = len(answers.failed)
    outcome.stored_though_refused = len(answers.unexpected(rows))
    outcome.reads = answers.reads
    outcome.failed_reads = answers.failed_reads.total()


def report(outcomes: dict[str, Outcome]) -> str:
    """Return a table of Markdown."""
    rows = {
        "writes acknowledged": lambda o: f"{o.acknowledged:,}",
        "of these lost": lambda o: f"{o.lost:,}",
        "in doubt (`CommitOutcomeUnknown`)": lambda o: f"{o.in_doubt:,}",
        "refused": lambda o: f"{o.refused:,}",
        "of these stored nevertheless": lambda o: f"{o.stored_though_refused:,}",
        "reads served": lambda o: f"{o.reads:,}",
        "reads that failed": lambda o: f"{o.failed_reads:,}",
        "seconds from promotion to the next write, median": lambda o: _median(o.seconds),
        "the same, longest": lambda o: f"{max(o.seconds):.2f}",
        "seconds from kill to the next write, median": lambda o: _median(o.away),
        "the same, longest ": lambda o: f"{max(o.away):.2f}",
    }
    lines = [f"|  | {' | '.join(outcomes)} |", f"| --- |{' ---: |' * len(outcomes)}"]
    for label, show in rows.items():
        lines.append(f"| {label.strip()} | {' | '.join(map(show, outcomes.values()))} |")
    return "\n".join(lines)


def _median(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.2f}"


def main() -> None:
    """Kill, and print what was lost; with a failure if it was more than may be."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.failover", description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--driver", action="append", choices=("asyncpg", "psycopg"))
    options = parser.parse_args()
    outcomes = {
        f"{driver}, {kind}": asyncio.run(kill_again_and_again(driver, options.kills, **how))
        for driver in options.driver or ("asyncpg", "psycopg")
        for kind, how in KINDS.items()
    }
    print(report(outcomes))
    kept = [outcome for name, outcome in outcomes.items() if name.endswith(", synchronous")]
    if any(outcome.lost or max(outcome.seconds) > LIMIT for outcome in kept):
        raise SystemExit(f"something was lost, or a write took longer than {LIMIT} s")


if __name__ == "__main__":
    main()
