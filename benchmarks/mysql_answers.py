"""What does an answer cost on MariaDB, where the server builds the JSON, beside objects of the ORM?

CPU of the application's process and of the server for one request, with each driver; all interleaved.
``python -m benchmarks.mysql_answers [ROUNDS]``
"""

from __future__ import annotations

import asyncio
import statistics
import sys
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import create_async_engine

from benchmarks.caller import Caller
from benchmarks.contenders import TEXTBOOK, Contender
from benchmarks.contenders.posts import (
    AUTHORS,
    POSTS,
    TAGS,
    TAGS_OF_A_POST,
    Author,
    Base,
    Post,
    Status,
    Tag,
    post_tags,
)
from benchmarks.measures.answers import ANSWERS, KINDS, OBJECTS
from benchmarks.server_cpu import cpu_of
from fastapi_asyncdb.testing import MariaDBServer, mariadb_server

REQUESTS = 100
BATCH = 1000
CONTENDERS: tuple[Contender, ...] = (TEXTBOOK, OBJECTS, ANSWERS)
START = datetime(2026, 1, 1, tzinfo=UTC)

Key = tuple[str, str, str]
"""A driver, a contender and a kind of request."""
Costs = list[tuple[float, float]]
"""CPU of the application and of the server in each round, in milliseconds."""


async def create(url: str) -> None:
    """Create the tables of ``posts``, with all their rows."""
    authors = [{"name": f"Author {n}", "email": f"author{n}@example.org"} for n in range(AUTHORS)]
    posts = [
        {
            "title": f"The title of post number {n}",
            "summary": f'What post {n} says, "in short", in a line' if n % 4 else None,
            "status": Status.published if n % 3 else Status.draft,
            "views": n * 7 % 10_000,
            "created_at": START + n * timedelta(seconds=100),
            "published_at": START + n * timedelta(seconds=60) if n % 3 else None,
            "author_id": n % AUTHORS + 1,
        }
        for n in range(POSTS)
    ]
    tagged = [
        {"post_id": n + 1, "tag_id": (n + 7 * each) % TAGS + 1}
        for n in range(POSTS)
        for each in range(TAGS_OF_A_POST)
    ]
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)
        await connection.run_sync(Base.metadata.create_all)
        await connection.execute(insert(Author), authors)
        await connection.execute(insert(Tag), [{"name": f"tag-{n}"} for n in range(TAGS)])
        for table, rows in ((Post.__table__, posts), (post_tags, tagged)):
            for start in range(0, len(rows), BATCH):
                await connection.execute(table.insert(), rows[start : start + BATCH])  # type: ignore[attr-defined]
    await engine.dispose()


def threads(server: MariaDBServer) -> list[int]:
    """Return the threads of the server."""
    process = (server.data / "server.pid").read_text().strip()
    return [int(each.name) for each in Path(f"/proc/{process}/task").iterdir()]


def measure(urls: dict[str, str], server: MariaDBServer, rounds: int) -> dict[Key, Costs]:
    """Call all applications in turn; the first round warms up."""
    taken: dict[Key, Costs] = {}
    with ExitStack() as stack:
        callers = {
            (driver, contender.name): stack.enter_context(Caller(contender, url))
            for driver, url in urls.items()
            for contender in CONTENDERS
        }
        for number in range(rounds + 1):
            for (driver, name), caller in callers.items():
                for kind, path in KINDS.items():
                    before = cpu_of(threads(server))
                    cpu = caller.call("GET", path, REQUESTS).cpu
                    both = cpu, (cpu_of(threads(server)) - before) / REQUESTS
                    if number:
                        cost = (both[0] * 1e3, both[1] * 1e3)
                        taken.setdefault((driver, name, kind), []).append(cost)
    return taken


def show(taken: dict[Key, Costs]) -> None:
    """Print medians, and their ratio to the textbook's within each round."""
    for (driver, name, kind), costs in taken.items():
        base = taken[driver, TEXTBOOK.name, kind]
        pairs = list(zip(costs, base, strict=True))
        ratio = statistics.median(own[0] / other[0] for own, other in pairs)
        sums = statistics.median(sum(own) / sum(other) for own, other in pairs)
        application, server = (statistics.median(each[at] for each in costs) for at in (0, 1))
        print(
            f"{driver:9} {kind:15} {name:24} application {application:6.2f} ms = {ratio:.2f}, "
            f"server {server:5.2f} ms, both = {sums:.2f}"
        )


def main() -> None:
    """Start the server, measure, print."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    with mariadb_server() as server:
        plain = server.url().partition(":")[2]
        urls = {driver: f"mysql+{driver}:{plain}" for driver in ("asyncmy", "aiomysql")}
        asyncio.run(create(urls["asyncmy"]))
        show(measure(urls, server, rounds))


if __name__ == "__main__":
    main()
