"""``Database.pool_status()``: the numbers of the pool, and who has a connection for longest."""

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Annotated

import pytest
from fastapi import Depends, FastAPI
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import Database, DatabaseSettings
from fastapi_asyncdb.errors import DatabaseNotStarted
from fastapi_asyncdb.pool.status import PoolStatus
from fastapi_asyncdb.testing import sandbox
from tests.support.application import client, eventually
from tests.support.databases import ONE_DRIVER

pytestmark = pytest.mark.databases(*ONE_DRIVER)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A started ``Database`` with two connections that stay and one that does not."""
    async with Database(
        DatabaseSettings(url=database_url, pool_size=2, max_overflow=1)
    ) as database:
        yield database


async def read(database: Database) -> None:
    """Read with a session."""
    async with database.read_session() as session:
        await session.execute(text("SELECT 1"))


async def test_numbers_of_an_idle_pool(database: Database):
    """The start has opened a connection, of the writing pool."""
    status = database.pool_status()
    assert (status.in_use, status.idle, status.overflow, status.waiting) == (0, 1, 0, 0)
    assert (status.longest_wait, status.longest_checkout) == (0.0, None)
    reading = status.read or status
    assert (reading.size, reading.limit) == (2, 3)


async def test_numbers_of_a_full_pool(database: Database):
    """In use, overflow, waiters and the longest wait."""
    connections = [await database.read_engine.connect() for _ in range(3)]
    waiters = [asyncio.create_task(read(database)) for _ in range(2)]
    await eventually(lambda: _reading(database).waiting == 2)
    status = _reading(database)
    assert (status.in_use, status.idle, status.overflow) == (3, 0, 1)
    assert _reading(database).longest_wait > status.longest_wait > 0
    for connection in connections:
        await connection.close()
    await asyncio.gather(*waiters)
    status = _reading(database)
    assert (status.in_use, status.idle, status.overflow, status.waiting) == (0, 3, 1, 0)
    assert status.longest_wait == 0


def _reading(database: Database) -> PoolStatus:
    status = database.pool_status()
    return status.read or status


@pytest.mark.databases("sqlite")
async def test_sqlite_has_two_pools(database: Database):
    """One connection writes; the settings are those of the readers."""
    async with database.session() as session:
        await session.execute(text("SELECT 1"))
        status = database.pool_status()
        assert (status.size, status.limit, status.in_use) == (1, 1, 1)
        assert status.read is not None
        assert (status.read.size, status.read.limit, status.read.in_use) == (2, 3, 0)
        assert status.longest_checkout is not None


@pytest.mark.databases("postgresql-asyncpg")
async def test_postgresql_has_one_pool(database: Database):
    """Sessions that read and sessions that write share it."""
    async with database.read_engine.connect(), database.session() as session:
        await session.execute(text("SELECT 1"))
        assert database.pool_status().read is None
        assert database.pool_status().in_use == 2


async def test_longest_checkout_has_the_route_and_the_line(database: Database):
    """Not the path, which may contain secrets; the first of several sessions."""
    app = FastAPI()

    @app.get("/users/{secret}")
    async def slow(secret: str, db: Annotated[AsyncSession, Depends(database.get_db)]) -> list[str]:
        await db.execute(text("SELECT 1"))
        await read(database)
        longest = database.pool_status().longest_checkout
        assert longest is not None
        assert 0 < longest.seconds < 60
        return [longest.holder, longest.place]

    async with client(app) as http:
        holder, place = (await http.get("/users/s3cret")).json()
    assert holder == "GET /users/{secret}"
    assert __file__ in place
    assert "in test_longest_checkout_has_the_route_and_the_line.<locals>.slow" in place
    assert database.pool_status().longest_checkout is None


async def test_longest_checkout_is_known_after_its_warning(
    database_url: str, caplog: pytest.LogCaptureFixture
):
    """The log has it once; the status as long as it lasts."""
    settings = DatabaseSettings(url=database_url, hold_warning=0.05)
    async with Database(settings) as database:
        async with database.session() as session:
            await session.execute(text("SELECT 1"))
            await eventually(lambda: "checked out for" in caplog.text)
            longest = database.pool_status().longest_checkout
            assert longest is not None
            assert longest.holder == "A session outside of requests"
            assert longest.seconds >= 0.05
        assert database.pool_status().longest_checkout is None


@pytest.mark.databases("postgresql-asyncpg")
async def test_forgotten_session_is_not_counted(
    database_url: str, caplog: pytest.LogCaptureFixture
):
    """The garbage collector has closed its connection."""
    async with Database(DatabaseSettings(url=database_url, hold_warning=0.05)) as database:
        scope = database.session()
        session = await scope.__aenter__()
        await session.execute(text("SELECT 1"))
        await eventually(lambda: "checked out for" in caplog.text)
        assert database.pool_status().longest_checkout is not None
        del session, scope
        with pytest.warns(match="garbage collector"):
            gc.collect()
        assert database.pool_status().longest_checkout is None


async def test_without_hold_warning_the_longest_checkout_is_not_known(database_url: str):
    """Nothing watches the checkouts then; the numbers are there."""
    settings = DatabaseSettings(url=database_url, hold_warning=0)
    async with Database(settings) as database, database.session() as session:
        await session.execute(text("SELECT 1"))
        assert database.pool_status().in_use == 1
        assert database.pool_status().longest_checkout is None


async def test_sandbox_has_one_connection(database: Database):
    """A route that shows the status works in tests."""
    async with sandbox(database), database.session() as session:
        await session.execute(text("SELECT 1"))
        status = database.pool_status()
        assert (status.size, status.limit, status.in_use, status.idle) == (1, 1, 1, 0)
        assert status.read is None


async def test_pool_that_is_not_started_has_no_status():
    """The error says what to do."""
    with pytest.raises(DatabaseNotStarted):
        Database().pool_status()
