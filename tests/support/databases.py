"""The databases that tests run on, by name; and URLs with another driver."""

from __future__ import annotations

import asyncpg

DRIVERS = ("asyncpg", "psycopg")
DATABASES = ("sqlite", *(f"postgresql-{driver}" for driver in DRIVERS))
"""What ``database_url`` has by default."""
POOLED = tuple(f"postgresql-{driver}-pooled" for driver in DRIVERS)
"""PostgreSQL behind PgBouncer in transaction mode."""
ONE_DRIVER = DATABASES[:2]
"""Where PostgreSQL's driver makes no difference to what is tested."""
EVERY_KIND = (*DATABASES, "sqlite-memory")


def with_driver(url: str, driver: str) -> str:
    """Return a URL of PostgreSQL with this driver in it."""
    return f"postgresql+{driver}:{url.partition(':')[2]}"


async def execute(url: str, sql: str) -> None:
    """Run statements on a connection of their own, in autocommit."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()
