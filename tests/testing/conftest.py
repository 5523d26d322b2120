"""A handle with tables and a row, which is as before after each test."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import MetaData, select

from fastapi_asyncdb import Database, DatabaseSettings
from tests.support.application import Base, Counter, Note, checked_out


@pytest.fixture
def tables() -> MetaData:
    """The tables of ``database`` and ``notes``."""
    return Base.metadata


@pytest.fixture
async def database(database_url: str, missing_tables: MetaData | None) -> AsyncIterator[Database]:
    """A started handle whose database is as before when the test is over."""
    database = Database(DatabaseSettings(url=database_url))
    await database.start(create_tables=missing_tables)
    async with database.session() as session:
        session.add_all([Note(text="before"), Counter(id=1, value=1)])
    before = await contents(database)
    yield database
    assert await contents(database) == before
    assert checked_out(database) == 0
    # What is unchanged can also be changed: nothing holds a lock.
    async with database.session() as session:
        session.add(Note(text="after"))
    await database.stop()


@pytest.fixture
async def notes(database_url: str, missing_tables: MetaData | None) -> AsyncIterator[Database]:
    """A started handle with tables, in which commits stay."""
    database = Database(DatabaseSettings(url=database_url))
    await database.start(create_tables=missing_tables)
    yield database
    await database.stop()


async def contents(database: Database) -> dict[str, list[Any]]:
    """Return every row of every table."""
    async with database.read_session() as session:
        return {
            table.name: [tuple(row) for row in await session.execute(select(table))]
            for table in Base.metadata.sorted_tables
        }
