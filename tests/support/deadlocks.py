"""A real deadlock on MariaDB, whose victim is the transaction that has changed less."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from sqlalchemy import insert, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import Database, DatabaseSettings
from tests.support.application import Counter, Note

HEAVY = 200
"""Rows that the winner has written. The server ends the transaction that has written fewer:
https://dev.mysql.com/doc/refman/8.4/en/innodb-deadlock-detection.html"""


async def deadlock(session: AsyncSession, note: int) -> None:
    """Be the victim of a deadlock with another transaction; raise the server's error.

    Args:
        session: Has written the note.
        note: Its number.
    """
    winner: Database[AsyncSession] = Database(DatabaseSettings(url=session.get_bind().engine.url))
    async with winner, winner.session() as other:
        await other.execute(
            insert(Counter), [{"id": n, "value": n} for n in range(1000, 1000 + HEAVY)]
        )
        waits = asyncio.create_task(
            other.execute(select(Note).where(Note.id == note).with_for_update())
        )
        try:
            await session.execute(update(Counter).where(Counter.id == 1000).values(value=0))
        finally:
            with suppress(DBAPIError):
                await waits
            await other.rollback()
