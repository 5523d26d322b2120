"""Do clients see what they have written, while the replay of a replica stops and goes on at random?

``python -m benchmarks.read_your_writes [PAIRS]``: so many pairs of a write and a read by one of the
clients, which keeps its cookie, without and with ``install_read_your_writes()``. The exit code is 1 if
a read with it was stale, or if none without it was: then nothing was proved.
"""

import asyncio
import json
import random
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, FastAPI
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from benchmarks.__main__ import database as server_with_items
from benchmarks.caller import Client, request
from benchmarks.standbys import standbys, url_at
from fastapi_asyncdb import Database, DatabaseSettings, install_read_your_writes
from fastapi_asyncdb.testing import PostgresReplica

CLIENTS = 50
LONGEST_THOUGHT = 1.0
"""Seconds between a write and the read; half of the clients read at once."""
LONGEST_PAUSE = 1.5
"""Seconds for which a replica replays nothing, and seconds until the next pause."""

CREATE = text("CREATE TABLE seen AS SELECT id, 0 AS value FROM generate_series(1, :count) AS id")
WRITE = text("UPDATE seen SET value = value + 1 WHERE id = :id RETURNING value")
READ = text("SELECT value, inet_server_port() FROM seen WHERE id = :id")


@dataclass
class Counts:
    """What the clients saw."""

    stale: int = 0
    by_port: dict[int, int] = field(default_factory=dict)
    """Reads that a server has answered."""
    pauses: int = 0

    def describe(self, primary: int | None) -> str:
        """Return it in one line."""
        reads = sum(self.by_port.values())
        there = self.by_port.get(primary or 0, 0)
        return (
            f"{self.stale:6,} stale of {reads:,} reads: {there:,} from the primary, "
            f"{reads - there:,} from the replicas; {self.pauses} pauses"
        )


def create_app(ports: Sequence[int | None], *, sees_writes: bool) -> FastAPI:
    """Return an application that reads from the replicas, without a limit for their lag."""
    primary, *others = map(url_at, ports)
    database = Database(DatabaseSettings(url=primary, replica_urls=others))
    app = FastAPI(lifespan=database.lifespan)
    if sees_writes:
        install_read_your_writes(app, secret="a secret of benchmarks", database=database)  # noqa: S106

    @app.post("/seen/{number}")
    async def write(number: int, db: Annotated[AsyncSession, Depends(database.get_db)]) -> int:
        return int((await db.execute(WRITE, {"id": number})).scalar_one())

    @app.get("/seen/{number}")
    async def read(
        number: int, db: Annotated[AsyncSession, Depends(database.get_read_db)]
    ) -> tuple[int, int]:
        value, port = (await db.execute(READ, {"id": number})).one()
        return value, port

    return app


async def pairs(app: FastAPI, number: int, left: Callable[[], bool], counts: Counts) -> None:
    """Write and read as one client, until all pairs are done."""
    client = Client()
    while left():
        written = json.loads(await request(app, "POST", f"/seen/{number}", client))
        if random.random() < 0.5:  # noqa: S311 - no secret
            await asyncio.sleep(random.uniform(0, LONGEST_THOUGHT))  # noqa: S311 - likewise
        value, port = json.loads(await request(app, "GET", f"/seen/{number}", client))
        counts.stale += value < written
        counts.by_port[port] = counts.by_port.get(port, 0) + 1


@asynccontextmanager
async def pausing(replicas: Sequence[PostgresReplica], counts: Counts) -> AsyncIterator[None]:
    """Stop the replay of one replica or the other at random, and let it go on."""

    async def pause() -> None:
        while True:
            replica = random.choice(replicas)  # noqa: S311 - no secret
            await asyncio.to_thread(replica.psql, "SELECT pg_wal_replay_pause()")
            counts.pauses += 1
            await asyncio.sleep(random.uniform(0, LONGEST_PAUSE))  # noqa: S311 - likewise
            await asyncio.to_thread(replica.psql, "SELECT pg_wal_replay_resume()")
            await asyncio.sleep(random.uniform(0, LONGEST_PAUSE))  # noqa: S311 - likewise

    task = asyncio.create_task(pause())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        for replica in replicas:
            replica.psql("SELECT pg_wal_replay_resume()")


async def measure(app: FastAPI, replicas: Sequence[PostgresReplica], count: int) -> Counts:
    """Let all clients send their pairs."""
    counts, numbers = Counts(), iter(range(count))

    def left() -> bool:
        return next(numbers, None) is not None

    async with (
        app.router.lifespan_context(app),
        pausing(replicas, counts),
        asyncio.TaskGroup() as group,
    ):
        for number in range(1, CLIENTS + 1):
            group.create_task(pairs(app, number, left, counts))
    return counts


async def create_rows(url: str) -> None:
    """Create a row for each client."""
    async with Database(DatabaseSettings(url=url)) as database, database.session() as session:
        await session.execute(CREATE, {"count": CLIENTS})


def main(count: int) -> int:
    """Print a line for each way; return the code of the exit."""
    print(
        f"{count:,} pairs of a write and a read by {CLIENTS} clients, with two replicas", flush=True
    )
    with server_with_items() as (primary, _), standbys(primary) as replicas:
        asyncio.run(create_rows(url_at(primary.port)))
        for replica in replicas:
            replica.wait_until_caught_up()
        ports = [primary.port, *(replica.port for replica in replicas)]
        found = {}
        for sees_writes in (False, True):
            app = create_app(ports, sees_writes=sees_writes)
            counts = found[sees_writes] = asyncio.run(measure(app, replicas, count))
            name = "with install_read_your_writes()" if sees_writes else "without"
            print(f"{name:32}{counts.describe(primary.port)}", flush=True)
    return int(found[True].stale > 0 or found[False].stale == 0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000))
