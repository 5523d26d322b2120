"""What only a server can do, in the SQL of each: sleep, tell its sessions apart, end one."""

from __future__ import annotations

from typing import Any

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from fastapi_asyncdb import Database
from fastapi_asyncdb.dialects import family_of

_NUMBER = {"postgresql": "SELECT pg_backend_pid()", "mysql": "SELECT CONNECTION_ID()"}
_END = {"postgresql": "SELECT pg_terminate_backend(:number, 5000)", "mysql": "KILL :number"}


def sleep(database: Database[Any], seconds: float) -> TextClause:
    """Return a query that takes so long; SQLite counts, three million numbers at most."""
    name = family_of(database.engine.dialect.name)
    if name == "sqlite":
        return text(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000000) "
            "SELECT count(*) FROM n"
        )
    return text(f"SELECT {'pg_sleep' if name == 'postgresql' else 'sleep'}({seconds})")


async def number_of(session: AsyncSession | AsyncConnection) -> int:
    """Return the server's number of the session."""
    dialect = (
        session.dialect if isinstance(session, AsyncConnection) else session.get_bind().dialect
    )
    number = await session.scalar(text(_NUMBER[family_of(dialect.name)]))
    assert isinstance(number, int)
    return number


async def end_session(database: Database[Any], number: int) -> None:
    """End a session of the server, from another connection."""
    async with database.session() as other:
        await other.execute(text(_END[family_of(database.engine.dialect.name)]), {"number": number})


async def lose_connection(database: Database[Any], session: AsyncSession) -> None:
    """End the server's session of a session of ours."""
    await end_session(database, await number_of(session))
