"""What a database of its own costs a test: copy, start, stop, drop; beside the ways to copy one.

Starts a PostgreSQL of its own. ``python -m benchmarks.isolated_database [ROUNDS]``
"""

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable

from sqlalchemy import Column, Integer, MetaData, String, Table

from fastapi_asyncdb import Database, DatabaseSettings
from fastapi_asyncdb.testing import DatabaseTemplate, postgres_server

TABLES = 30
LIMIT = 60
STRATEGIES = ("FILE_COPY", "WAL_LOG")

metadata = MetaData()
for number in range(TABLES):
    Table(
        f"item_{number}",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("name", String(50), unique=True),
    )


async def milliseconds(work: Callable[[], Awaitable[None]], rounds: int) -> float:
    """Return the median of what the work takes; the first two rounds warm up."""
    times = []
    for _ in range(rounds + 2):
        started = time.perf_counter()
        await work()
        times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times[2:])


async def per_test(url: str, rounds: int) -> float:
    """Return what one test pays."""
    async with DatabaseTemplate(url, metadata=metadata) as template:

        async def test() -> None:
            async with template.database() as database, database.read_session():
                pass

        return await milliseconds(test, rounds)


async def per_copy(url: str, strategy: str, rounds: int) -> float:
    """Return what the server takes to copy the template, and to drop the copy."""
    async with Database(DatabaseSettings(url=url)) as server:
        engine = server.engine.execution_options(isolation_level="AUTOCOMMIT")
        async with engine.connect() as connection:
            execute = connection.exec_driver_sql
            await execute("CREATE DATABASE template_of_the_benchmark")

            async def copy() -> None:
                template = f"template_of_the_benchmark STRATEGY {strategy}"
                await execute(f"CREATE DATABASE copy_of_the_benchmark TEMPLATE {template}")
                await execute("DROP DATABASE copy_of_the_benchmark WITH (FORCE)")

            try:
                return await milliseconds(copy, rounds)
            finally:
                await execute("DROP DATABASE template_of_the_benchmark")


def main(rounds: int) -> None:
    """Print a line for each way."""
    print(f"Median of {rounds}; {TABLES} tables; the limit for one test is {LIMIT} ms.")
    print(f"{asyncio.run(per_test('sqlite://', rounds)):8.1f} ms  a test on SQLite")
    with postgres_server() as server:
        for driver in ("asyncpg", "psycopg"):
            url = server.url().replace("postgresql", f"postgresql+{driver}", 1)
            print(f"{asyncio.run(per_test(url, rounds)):8.1f} ms  a test on PostgreSQL, {driver}")
        for strategy in STRATEGIES:
            cost = asyncio.run(per_copy(server.url(), strategy, rounds))
            print(f"{cost:8.1f} ms  of the server alone, empty, {strategy}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 30)
