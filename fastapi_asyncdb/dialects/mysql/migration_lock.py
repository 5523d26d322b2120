"""MySQL's lock of one migrator: a lock with a name, released with its session.

It outlives the commits that each change of the schema brings.
https://dev.mysql.com/doc/refman/8.4/en/locking-functions.html
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from fastapi_asyncdb.dialects.autocommit import with_connection_options
from fastapi_asyncdb.dialects.migrations import SessionLock
from fastapi_asyncdb.settings import DatabaseSettings

# Such names belong to the whole server, and have at most 64 characters; those of databases as many.
_NAME = "CONCAT('asyncdb migrations ', MD5(COALESCE(DATABASE(), '')))"
_TRY = text(f"SELECT GET_LOCK({_NAME}, 0)")
_RELEASE = text(f"SELECT RELEASE_LOCK({_NAME})")
_IS_HELD = text(f"SELECT IS_USED_LOCK({_NAME}) = CONNECTION_ID()")
# Without the privilege PROCESS, other users' sessions are not listed.
_HOLDER = text(
    "SELECT holder.id, list.user, list.host, list.time "  # noqa: S608 - the name is a constant
    f"FROM (SELECT IS_USED_LOCK({_NAME}) AS id) AS holder "
    "LEFT JOIN information_schema.processlist AS list ON list.id = holder.id"
)
# The session is idle while a revision runs; this is the longest time that all servers have.
_STAY = text("SET SESSION wait_timeout = 2147483")


class NamedLock(SessionLock):
    """The lock, on a connection of its own."""

    attempt, check, end = _TRY, _IS_HELD, _RELEASE

    async def holder(self) -> str:
        """Return which session has it, for a message."""
        found = (await self._connection.execute(_HOLDER)).one()
        if found.id is None:
            return "a session that has just ended"
        who = f" of user {found.user!r} from {found.host}" if found.user else " of another user"
        return f"the session with id {found.id}{who}"


@asynccontextmanager
async def migration_lock(
    write: AsyncEngine, read: AsyncEngine, settings: DatabaseSettings
) -> AsyncIterator[NamedLock]:
    """Open a session for the lock."""
    engine = with_connection_options(write, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        await connection.execute(_STAY)
        yield NamedLock(connection)
