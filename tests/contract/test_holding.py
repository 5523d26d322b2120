"""A connection that is held for too long is told, once, with the place that took it."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Annotated

import pytest
from fastapi import Depends, FastAPI
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import Database, DatabaseSettings
from tests.contract.support import Base, Note, client


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A handle that has little patience."""
    database = Database(DatabaseSettings(url=database_url, hold_warning=0.1))
    await database.start(create_tables=Base.metadata)
    yield database
    await database.stop()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was logged about held connections."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "fastapi_asyncdb.holding" and record.levelno == logging.WARNING
    ]


async def test_held_connection_is_told_once_with_route_seconds_and_place(
    database: Database, caplog: pytest.LogCaptureFixture
):
    """The warning comes while the connection is held, and names the line that took it."""
    app = FastAPI()

    @app.post("/orders/{secret}")
    async def slow(secret: str, db: Annotated[AsyncSession, Depends(database.get_db)]) -> int:
        db.add(Note(text="held"))
        await db.flush()  # the place
        await asyncio.sleep(0.35)
        await db.flush()
        return len(warnings(caplog))

    async with client(app) as http:
        assert (await http.post("/orders/s3cret")).json() == 1
    (message,) = warnings(caplog)
    assert message.startswith("POST /orders/{secret} has held a database connection for 0.1 s")
    assert "test_holding.py:" in message
    assert "slow" in message
    assert "await db.commit()" in message
    assert "s3cret" not in message


async def test_commit_before_the_slow_call_is_the_cure(
    database: Database, caplog: pytest.LogCaptureFixture
):
    """After a commit nothing is held, and nothing is told."""
    app = FastAPI()

    @app.post("/")
    async def slow(db: Annotated[AsyncSession, Depends(database.get_db)]) -> None:
        db.add(Note(text="committed"))
        await db.commit()
        await asyncio.sleep(0.25)

    async with client(app) as http:
        assert (await http.post("/")).status_code == 200
    assert warnings(caplog) == []


async def test_jobs_and_readers_are_told_as_well(
    database: Database, caplog: pytest.LogCaptureFixture
):
    """Outside of requests there is no route, but there is a place."""
    async with database.session() as session:
        await session.connection()
        await asyncio.sleep(0.25)
    async with database.read_session() as session:
        await session.connection()
        await asyncio.sleep(0.25)
    first, second = warnings(caplog)
    assert first.startswith("A session outside of requests")
    assert "test_jobs_and_readers_are_told_as_well" in second


async def test_zero_is_never(database_url: str, caplog: pytest.LogCaptureFixture):
    """DATABASE_HOLD_WARNING=0 turns it off."""
    settings = DatabaseSettings(url=database_url, hold_warning=0)
    async with Database(settings) as database, database.session() as session:
        await session.connection()
        await asyncio.sleep(0.25)
    assert warnings(caplog) == []
