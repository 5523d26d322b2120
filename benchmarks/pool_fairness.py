"""What 200 clients get out of 5 connections: SQLAlchemy's own pool, and the one with a line.

Starts a PostgreSQL of its own. A client reads, again and again; a read that waits for longer than
``pool_timeout`` has failed. ``python -m benchmarks.pool_fairness [SECONDS]``
"""

import asyncio
import statistics
import sys
import time
from dataclasses import dataclass, field

from sqlalchemy import TextClause, text
from sqlalchemy.exc import TimeoutError as PoolLimitError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from fastapi_asyncdb.pool.fair_pool import FairPool
from fastapi_asyncdb.testing import PostgresServer

CLIENTS = 200
CONNECTIONS = 5
POOL_TIMEOUT = 2.0
WORK = {"SELECT 1": text("SELECT 1"), "20 ms of work": text("SELECT pg_sleep(0.02)")}
POOLS = (AsyncAdaptedQueuePool, FairPool)


@dataclass
class Result:
    """What the clients saw."""

    seconds: float
    failed: int = 0
    latencies: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        cuts = statistics.quantiles(self.latencies, n=100)
        return (
            f"{self.failed:5d} failed  p50 {cuts[49] * 1e3:5.0f} ms  p99 {cuts[98] * 1e3:5.0f} ms  "
            f"{len(self.latencies) / self.seconds:6.0f} reads/s"
        )


async def read(engine: AsyncEngine, statement: TextClause, until: float, result: Result) -> None:
    """Read until the time is up."""
    while (started := time.perf_counter()) < until:
        try:
            async with engine.connect() as connection:
                await connection.execute(statement)
        except PoolLimitError:
            result.failed += 1
        else:
            result.latencies.append(time.perf_counter() - started)


async def measure(
    url: str, pool: type[AsyncAdaptedQueuePool], statement: TextClause, seconds: float
) -> Result:
    """Let all clients read at once."""
    engine = create_async_engine(
        url,
        poolclass=pool,
        pool_size=CONNECTIONS,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT,
        pool_use_lifo=True,
        isolation_level="AUTOCOMMIT",
    )
    result = Result(seconds)
    until = time.perf_counter() + seconds
    async with asyncio.TaskGroup() as clients:
        for _ in range(CLIENTS):
            clients.create_task(read(engine, statement, until, result))
    await engine.dispose()
    return result


def main(seconds: float) -> None:
    """Print a line for each pool and kind of work."""
    with PostgresServer() as server:
        url = server.url().replace("postgresql://", "postgresql+asyncpg://")
        for name, statement in WORK.items():
            for pool in POOLS:
                result = asyncio.run(measure(url, pool, statement, seconds))
                print(f"{result}  {name}, {pool.__name__}")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 15)
