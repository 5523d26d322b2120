"""What does a request cost on MariaDB, beside the textbook's, with each driver, and on PostgreSQL?

CPU of the application's process for one request, and the time that it takes, without a web server; all
interleaved. ``python -m benchmarks.mysql [ROUNDS]``
"""

from __future__ import annotations

import asyncio
import statistics
import sys
from contextlib import ExitStack

from benchmarks.caller import Caller
from benchmarks.contenders import OURS, TEXTBOOK, Contender
from benchmarks.contenders.items import create_items
from fastapi_asyncdb.testing import mariadb_server, postgres_server

REQUESTS = 100
LIMITS = {"read": 0.75, "write": 0.92}
KINDS = {"read": ("GET", "/items/1"), "write": ("POST", "/items")}
PLAIN = Contender("textbook, no ping", "textbook:create_app_without_ping")
CONTENDERS = (TEXTBOOK, PLAIN, OURS)

Key = tuple[str, str]
"""A database with its driver, and a contender."""
Costs = dict[str, list[tuple[float, float]]]
"""For each kind of request: CPU and time of each round, in microseconds."""


def sample(caller: Caller, costs: Costs) -> None:
    """Send requests of each kind."""
    for kind, call in KINDS.items():
        cost = caller.call(*call, REQUESTS)
        time = statistics.fmean(cost.latencies)
        costs.setdefault(kind, []).append((cost.cpu * 1e6, time * 1e6))


def measure(urls: dict[str, str], rounds: int) -> dict[Key, Costs]:
    """Call all applications in turn; the first round warms up."""
    taken: dict[Key, Costs] = {}
    with ExitStack() as stack:
        callers = {
            (name, contender.name): stack.enter_context(Caller(contender, url))
            for name, url in urls.items()
            for contender in CONTENDERS
        }
        for number in range(rounds + 1):
            for key, caller in callers.items():
                sample(caller, taken.setdefault(key, {}) if number else {})
    return taken


def show(taken: dict[Key, Costs]) -> None:
    """Print medians, and their ratio to the textbook's within each round."""
    for (database, contender), costs in taken.items():
        for kind, rounds in costs.items():
            base = taken[database, TEXTBOOK.name][kind]
            cpu, time = (
                statistics.median(
                    own[at] / other[at] for own, other in zip(rounds, base, strict=True)
                )
                for at in (0, 1)
            )
            micros = [statistics.median(each[at] for each in rounds) for at in (0, 1)]
            limit = f" (limit {LIMITS[kind]})" if contender == OURS.name else ""
            print(
                f"{database:24} {contender:18} {kind:6} {micros[0]:6.0f} us CPU = {cpu:.2f}{limit}, "
                f"{micros[1]:6.0f} us = {time:.2f}"
            )


def main() -> None:
    """Start the servers, measure, print."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    with postgres_server() as postgres, mariadb_server() as mariadb:
        plain = mariadb.url("mysql").partition(":")[2]
        urls = {f"mysql+{driver}": f"mysql+{driver}:{plain}" for driver in ("asyncmy", "aiomysql")}
        urls["postgresql+asyncpg"] = f"postgresql+asyncpg:{postgres.url().partition(':')[2]}"
        for url in (urls["mysql+asyncmy"], urls["postgresql+asyncpg"]):
            asyncio.run(create_items(url))
        show(measure(urls, rounds))


if __name__ == "__main__":
    main()
