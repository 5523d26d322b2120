"""psycopg sends BEGIN together with the first statement, and what can go wrong with the two."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from fastapi_asyncdb import Database, DatabaseSettings
from tests.support.application import Base, Note, checked_out, stored
from tests.support.cancelling import FOREVER, Cancellable, Witness
from tests.support.databases import with_driver
from tests.support.tcp_proxy import tcp_proxy

INSERT = text("INSERT INTO note (text) VALUES (:text)")
PREPARES = 8
"""More executions than psycopg lets pass before it prepares a statement."""


@pytest.fixture
def url(postgres_url: str) -> str:
    """An empty database, with psycopg."""
    return with_driver(postgres_url, "psycopg")


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    """A handle with one connection, and a table."""
    settings = DatabaseSettings(url=url, pool_size=1, max_overflow=0, pool_ping_idle=600)
    async with Database(settings) as database:
        async with database.engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        yield database


async def driver_of(connection: AsyncConnection) -> Any:
    """Return psycopg's own connection."""
    return (await connection.get_raw_connection()).driver_connection


@asynccontextmanager
async def refused_begin(database: Database) -> AsyncIterator[None]:
    """Let the server refuse the BEGIN of the connection, as a standby refuses READ WRITE."""
    async with database.engine.connect() as connection:
        driver = await driver_of(connection)
    driver._begin_statement = b"BEGIN ISOLATION LEVEL NONE"
    yield
    driver._begin_statement = None


async def test_write_costs_two_round_trips(database: Database, url: str):
    """BEGIN with INSERT, and COMMIT; no third one when the statement is prepared."""
    server = make_url(url)
    costs = []
    async with tcp_proxy(server.port or 5432) as proxy:
        through = DatabaseSettings(url=server.set(host="127.0.0.1", port=proxy.port))
        async with Database(through) as own:
            for _ in range(PREPARES):
                before = proxy.round_trips
                async with own.session() as session:
                    session.add(Note(text="written"))
                costs.append(proxy.round_trips - before)
    assert costs == [2] * PREPARES
    assert await stored(database) == ["written"] * PREPARES


async def test_refused_begin_lets_no_statement_through(database: Database):
    """Without the transaction the statement would be committed by itself."""
    async with refused_begin(database):
        for _ in range(PREPARES):
            with pytest.raises(DBAPIError, match="NONE"):
                async with database.session() as session:
                    await session.execute(INSERT, {"text": "lost"})
    assert await stored(database) == []


async def test_plan_that_was_never_made_is_not_used(database: Database):
    """The server has skipped the statement that would have prepared it."""
    for executed in range(PREPARES):
        async with database.session() as session:
            await session.execute(INSERT, {"text": "written"})
        async with refused_begin(database):
            with pytest.raises(DBAPIError):
                async with database.session() as session:
                    await session.execute(INSERT, {"text": "lost"})
        assert await stored(database) == ["written"] * (executed + 1)


@pytest.mark.parametrize("together", [True, False], ids=["with_begin", "after_begin"])
@pytest.mark.parametrize("how", ["task", "scope"])
async def test_cancelled_first_statement_leaves_nothing_behind(
    database: Database, url: str, how: str, together: bool
):
    """No transaction, no lock, no place in the pool, cancelled whenever."""
    witness = Witness(database, url)
    parameters = {"key": 1, "seconds": FOREVER}
    wait = "SELECT pg_advisory_xact_lock(:key), pg_sleep(:seconds)"
    if not together:
        for name, value in parameters.items():
            wait = wait.replace(f":{name}", str(value))
        parameters = {}

    async def work() -> None:
        async with database.session() as session:
            await session.execute(text(wait), parameters)

    for steps in (*range(0, 12, 2), FOREVER):
        run = Cancellable(work, how)
        run.start()
        async with asyncio.timeout(10):
            for _ in range(min(steps, 12)):
                await asyncio.sleep(0)
            while steps == FOREVER and not await witness.sessions("wait_event = 'PgSleep'"):
                pass
            await run.cancel()
        await witness.nothing_is_left_behind()
    async with database.session() as session:
        await session.execute(INSERT, {"text": "written"})
    assert await stored(database) == ["written"]


@pytest.mark.parametrize("when", ["before", "meanwhile"])
async def test_killed_backend_has_said_why(database: Database, url: str, when: str):
    """The server's last words are the error, not the connection that it closed after them."""
    witness = Witness(database, url)
    async with database.engine.connect() as connection:
        pid = (await driver_of(connection)).info.backend_pid

    async def sleep() -> None:
        async with database.session() as session:
            await session.execute(text("SELECT pg_sleep(:seconds)"), {"seconds": FOREVER})

    async with asyncio.timeout(30):
        if when == "before":
            await witness.ask("SELECT pg_terminate_backend($1, 5000)", pid)
        sleeping = asyncio.create_task(sleep())
        if when == "meanwhile":
            while not await witness.sessions(f"wait_event = 'PgSleep' AND pid = {pid}"):
                pass
            await witness.ask("SELECT pg_terminate_backend($1, 5000)", pid)
        with pytest.raises(DBAPIError) as caught:
            await sleeping
    error: Any = caught.value
    assert (error.orig.sqlstate, error.connection_invalidated) == ("57P01", True)
    assert checked_out(database) == 0


async def test_several_statements_in_one_string(database: Database):
    """They have no parameters, and begin a transaction as before."""
    async with database.session() as session:
        connection = await session.connection()
        await connection.exec_driver_sql(
            "INSERT INTO note (text) VALUES ('a'); INSERT INTO note (text) VALUES ('b')"
        )
    assert await stored(database) == ["a", "b"]
    with pytest.raises(RuntimeError):
        async with database.session() as session:
            await (await session.connection()).exec_driver_sql("DELETE FROM note; SELECT 1")
            raise RuntimeError
    assert await stored(database) == ["a", "b"]
