"""The databases that tests run on, by name; and URLs with another driver."""

from __future__ import annotations

import asyncio
from contextlib import closing
from importlib.metadata import version

import asyncpg
from packaging.version import Version

DRIVERS = ("asyncpg", "psycopg")
POSTGRESQL = tuple(f"postgresql-{driver}" for driver in DRIVERS)
"""PostgreSQL with each driver."""
MYSQL_DRIVERS = ("asyncmy", "aiomysql")
MARIADB = tuple(f"mariadb-{driver}" for driver in MYSQL_DRIVERS)
"""MariaDB with each driver."""
DATABASES = ("sqlite", *POSTGRESQL, *MARIADB)
"""What ``database_url`` has by default; ``make test`` runs the first driver of each."""
SERVERS = (*POSTGRESQL, *MARIADB)
"""Every database that has a server, with each driver."""
POOLED = tuple(f"{name}-pooled" for name in POSTGRESQL)
"""PostgreSQL behind PgBouncer in transaction mode."""
ONE_DRIVER = ("sqlite", POSTGRESQL[0], MARIADB[0])
"""Where the driver makes no difference to what is tested."""
LONG = ("sqlite", POSTGRESQL[0], MARIADB[1])
"""Of tests that take long, where the driver makes no difference: ``make test-drivers`` runs MariaDB."""
DERIVED = tuple(f"{name}-derived" for name in POSTGRESQL)
"""PostgreSQL as the database of another package, ``tests/support/wiredb``."""
EVERY_KIND = (*DATABASES, "sqlite-memory")
TRANSACTIONAL_DDL = tuple(name for name in EVERY_KIND if not name.startswith("mariadb"))
"""What has deferred constraints, and rolls back changes of the schema."""

_ALEMBIC = Version(version("alembic"))
COMPARED = DATABASES if Version("1.20") <= _ALEMBIC else ("sqlite", *POSTGRESQL)
"""Where Alembic by itself finds no difference between equal defaults: before 1.20 it compares those of
MySQL as texts, and with SQLAlchemy 2.0 not all can be written."""


def with_driver(url: str, driver: str, *, scheme: str | None = None) -> str:
    """Return a URL with this driver in it."""
    scheme = scheme or ("mysql" if driver in MYSQL_DRIVERS else "postgresql")
    return f"{scheme}+{driver}:{url.partition(':')[2]}"


async def execute(url: str, sql: str) -> None:
    """Run statements on a connection of their own, in autocommit."""
    if url.startswith("mysql"):
        await asyncio.to_thread(_execute_mysql, url, sql)
        return
    connection = await asyncpg.connect(f"postgresql:{url.partition(':')[2]}")
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


def _execute_mysql(url: str, sql: str) -> None:
    from tests.support.kept_mysql_tables import connect

    with closing(connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        while cursor.nextset():
            pass
