"""What the isolation of a test costs: a sandbox, beside the emptying of tables after each test.

Each test stores one row, so that there is something to undo. What is measured is what stands around
it: setup and teardown, interleaved, on SQLite and on a PostgreSQL of its own.
``python -m benchmarks.sandbox [TESTS]``
"""

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from sqlalchemy import Column, Integer, MetaData, String, Table, insert, text

from fastapi_asyncdb import Database, DatabaseSettings
from fastapi_asyncdb.testing import PostgresServer, sandbox

metadata = MetaData()
TABLES = [
    Table(
        f"benchmark_{number}",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("t", String),
    )
    for number in range(10)
]


@asynccontextmanager
async def emptied(database: Database) -> AsyncIterator[None]:
    """Empty every table after the test, in the fastest way that the database has."""
    yield
    names = ", ".join(table.name for table in TABLES)
    async with database.engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            await connection.execute(text(f"TRUNCATE {names} RESTART IDENTITY"))
        else:
            for table in TABLES:
                await connection.execute(table.delete())


async def overhead(database: Database, isolation: AbstractAsyncContextManager[object]) -> float:
    """Return the milliseconds of one test that are not the test's own."""
    started = time.perf_counter()
    async with isolation:
        inside = time.perf_counter()
        async with database.session() as session:
            await session.execute(insert(TABLES[0]).values(t="row"))
        own = time.perf_counter() - inside
    return (time.perf_counter() - started - own) * 1000


async def compare(url: str, tests: int) -> None:
    """Print a line for each way."""
    ways: dict[str, Callable[[Database], AbstractAsyncContextManager[object]]] = {
        "sandbox": sandbox,
        "emptied tables": emptied,
    }
    costs: dict[str, list[float]] = {name: [] for name in ways}
    database = Database(DatabaseSettings(url=url))
    await database.start(create_tables=metadata)
    for _ in range(tests):
        for name, isolation in ways.items():
            costs[name].append(await overhead(database, isolation(database)))
    backend = database.engine.dialect.name
    await database.stop()
    medians = {name: statistics.median(values) for name, values in costs.items()}
    for name, median in medians.items():
        print(
            f"{median:8.2f} ms  {median / medians['sandbox']:6.1f} of a sandbox  {backend}: {name}"
        )


def main(tests: int) -> None:
    """Compare on both databases."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(compare(f"sqlite:///{folder}/benchmark.db", tests))
    with PostgresServer() as server:
        asyncio.run(compare(server.url(), tests))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 500)
