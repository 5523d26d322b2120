"""A connection that is checked out for too long is logged, once, with the place of the checkout."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from typing import Annotated

import pytest
from fastapi import APIRouter, Depends, FastAPI, WebSocket
from fastapi.requests import HTTPConnection
from sqlalchemy import MetaData
from sqlalchemy.ext.asyncio import AsyncSession
from websockets.asyncio.client import connect

from fastapi_asyncdb import Database, DatabaseSettings
from fastapi_asyncdb.pool.checkout_warnings import CheckoutWatch
from tests.support.application import Note, checked_out, client, eventually
from tests.support.cancelling import pause
from tests.support.databases import ONE_DRIVER
from tests.support.http_server import http_server

pytestmark = pytest.mark.databases(*ONE_DRIVER)


@pytest.fixture
async def database(database_url: str, missing_tables: MetaData | None) -> AsyncIterator[Database]:
    """A handle that has little patience."""
    database = Database(DatabaseSettings(url=database_url, hold_warning=0.1))
    await database.start(create_tables=missing_tables)
    yield database
    await database.stop()


@pytest.fixture
async def slow_database(
    database_url: str, missing_tables: MetaData | None
) -> AsyncIterator[Database]:
    """A handle for what must not be logged: a disk that stalls may keep a statement for 0.3 seconds."""
    database = Database(DatabaseSettings(url=database_url, hold_warning=1.0))
    await database.start(create_tables=missing_tables)
    yield database
    await database.stop()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was logged about held connections."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "fastapi_asyncdb.pool.checkout_warnings"
        and record.levelno == logging.WARNING
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
    assert message.startswith(
        "POST /orders/{secret} has had a database connection checked out for 0.1 s"
    )
    assert "test_checkout_warnings.py:" in message
    assert "session.py" not in message
    assert "routing.py" not in message
    assert "slow" in message
    assert "await db.commit()" in message
    assert "s3cret" not in message


async def test_commit_before_the_slow_call_is_the_cure(
    slow_database: Database, caplog: pytest.LogCaptureFixture
):
    """After a commit nothing is held, and nothing is told."""
    app = FastAPI()

    @app.post("/")
    async def slow(db: Annotated[AsyncSession, Depends(slow_database.get_db)]) -> None:
        db.add(Note(text="committed"))
        await db.commit()
        await asyncio.sleep(1.25)

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


async def test_the_place_is_where_it_was_taken(
    database: Database, caplog: pytest.LogCaptureFixture
):
    """Not where it was used later, and in three names of the application's own."""

    async def first(session: AsyncSession) -> None:
        await session.connection()

    async def second(session: AsyncSession) -> None:
        await first(session)

    async def third(session: AsyncSession) -> None:
        await second(session)

    async def later(session: AsyncSession) -> None:
        await session.connection()

    async with database.session() as session:
        await third(session)
        await later(session)
        await asyncio.sleep(0.25)
    (message,) = warnings(caplog)
    names = [name.rpartition(".")[2] for name in re.findall(r":\d+ in ([\w.<>]*\w)", message)]
    assert names == ["first", "second", "third"]


async def test_next_transaction_is_watched_anew(
    slow_database: Database, caplog: pytest.LogCaptureFixture
):
    """What one transaction took counts from its own beginning, and once, savepoints or not."""
    async with slow_database.session() as session:
        for _ in range(4):
            await session.connection()
            async with session.begin_nested():
                await session.connection()
                await asyncio.sleep(0.5)
            await session.commit()
        await asyncio.sleep(1.25)
        assert warnings(caplog) == []
        await session.connection()
        await asyncio.sleep(1.25)
    assert len(warnings(caplog)) == 1


async def test_slow_commit_is_told_as_the_end(database: Database, caplog: pytest.LogCaptureFixture):
    """A connection that only the commit has taken was taken by no line of the user's."""
    pause(database, "commit", 0.25)
    async with database.session() as session:
        session.add(Note(text="late"))
    (message,) = warnings(caplog)
    assert "The checkout was at the end of the transaction." in message


async def test_socket_and_prefixed_route_have_names(
    database: Database, caplog: pytest.LogCaptureFixture
):
    """A route is told as it is declared, with its prefix; a socket has no method."""
    router = APIRouter(prefix="/v1")

    @router.websocket("/rooms/{room}")
    async def room(socket: WebSocket, db: Annotated[AsyncSession, Depends(database.get_db)]):
        await socket.accept()
        await db.connection()
        await asyncio.sleep(0.25)
        await socket.close()

    app = FastAPI()
    app.include_router(router)
    async with http_server(app) as address, connect(f"ws://{address}/v1/rooms/12") as socket:
        await socket.wait_closed()
    await eventually(lambda: checked_out(database) == 0)
    (message,) = warnings(caplog)
    assert message.startswith("WebSocket /v1/rooms/{room} has had a database connection")


async def test_request_without_a_route_is_told_as_such(caplog: pytest.LogCaptureFixture):
    """Task queues resolve dependencies with a request of their own making."""
    request = HTTPConnection({"type": "http", "method": "POST", "path": "/s3cret"})
    CheckoutWatch(0.01).begin(request)
    await asyncio.sleep(0.05)
    (message,) = warnings(caplog)
    assert message.startswith("POST an unknown route has had a database connection")
