"""PostgreSQL's lock of one migrator: an advisory lock of a session, released at its end.

It is tried again and again, instead of being waited for: a transaction that waits for a lock has a
snapshot, and CREATE INDEX CONCURRENTLY of the process that migrates would wait for that.
https://www.postgresql.org/docs/current/sql-createindex.html#SQL-CREATEINDEX-CONCURRENTLY
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from fastapi_asyncdb.dialects.autocommit import with_connection_options
from fastapi_asyncdb.dialects.migrations import SessionLock
from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.settings import DatabaseSettings

# Other programs take the same lock by the same number; 64 bits, split in two in pg_locks.
# https://www.postgresql.org/docs/current/view-pg-locks.html
_KEY = "hashtextextended('fastapi_asyncdb.migrations', 0)"
_TRY = text(f"SELECT pg_try_advisory_lock({_KEY})")
_RELEASE = text(f"SELECT pg_advisory_unlock({_KEY})")
# A session that answers has its lock: the server releases it with the session, and nothing else does.
_IS_HELD = text("SELECT true")
_HOLDER = text(
    "SELECT activity.pid, application_name, client_addr::text "  # noqa: S608 - the key is a constant
    "FROM pg_locks JOIN pg_stat_activity AS activity USING (pid) "
    "WHERE locktype = 'advisory' AND objsubid = 1 AND granted "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
    f"AND ((classid::bigint << 32) | objid::bigint) = {_KEY}"
)


class AdvisoryLock(SessionLock):
    """The lock, on a connection of its own."""

    attempt, check, end = _TRY, _IS_HELD, _RELEASE

    async def holder(self) -> str:
        """Return which session has it, for a message."""
        found = (await self._connection.execute(_HOLDER)).first()
        if found is None:
            return "a session that has just ended"
        names = [found.application_name, found.client_addr and f"from {found.client_addr}"]
        return " ".join([f"the session with pid {found.pid}", *filter(None, names)])


@asynccontextmanager
async def migration_lock(
    write: AsyncEngine, read: AsyncEngine, settings: DatabaseSettings
) -> AsyncIterator[AdvisoryLock]:
    """Open a session for the lock.

    Raises:
        ConfigurationError: there is a pooler in transaction mode in between, which lends a session to
            many clients.
    """
    engine = with_connection_options(write, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        if settings.pgbouncer is not False:
            await _refuse_pooler(connection)
        yield AdvisoryLock(connection)


async def _refuse_pooler(connection: AsyncConnection) -> None:
    driver: Any = (await connection.get_raw_connection()).driver_connection
    if not await driver.leads_to_server():
        raise ConfigurationError(
            f"Migrations cannot run through the pooler at {connection.engine.url!r}: in transaction "
            "mode it gives the session that holds the lock of the migrations to other clients. Set "
            "DATABASE_MIGRATION_URL to the URL of the server itself (hosts call it direct, unpooled or "
            "session mode)."
        )
