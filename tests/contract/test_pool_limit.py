"""A request that finds the pool at its limit is answered with 503, in time."""

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Annotated, Any

import pytest
import sqlalchemy.exc
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, WebSocket
from fastapi.responses import JSONResponse, StreamingResponse
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from fastapi_asyncdb import Database, DatabaseSettings, RetryRoute
from fastapi_asyncdb.errors import AsyncDBError, PoolTimeout, TooManyWaiting
from tests.support.application import Base, Note, checked_out, client, eventually, stored
from tests.support.application import Request as RawRequest
from tests.support.http_server import http_server

pytestmark = pytest.mark.promise("T18")

BUSY = {"detail": "The service is busy. Please try again later."}
# Long enough to be told from at once, on a slow machine too.
PATIENCE = 0.4
FOREVER = 3600.0


@asynccontextmanager
async def limited(url: str, **options: Any) -> AsyncIterator[Database]:
    """Run a handle with one connection for each pool; after the test none may be in use."""
    settings = {"pool_size": 1, "max_overflow": 0, "pool_timeout": PATIENCE, **options}
    database = Database(DatabaseSettings(url=url, **settings))
    await database.start(create_tables=Base.metadata)
    try:
        yield database
        await eventually(lambda: checked_out(database) == 0)
    finally:
        await database.stop()


@asynccontextmanager
async def held(session: AbstractAsyncContextManager[AsyncSession]) -> AsyncIterator[None]:
    """Hold the session's connection."""
    async with session as holder:
        await holder.connection()
        yield


def reading_app(dependency: Any) -> FastAPI:
    """One route that reads, and one that needs no SQL."""
    app = FastAPI()
    DB = Annotated[AsyncSession, Depends(dependency)]

    @app.get("/")
    async def read(db: DB) -> int:
        return len((await db.scalars(select(Note))).all())

    @app.get("/idle")
    async def idle(db: DB) -> str:
        return "served"

    return app


@pytest.mark.parametrize(
    ("dependency", "options"),
    [
        ("get_db", {}),
        ("get_read_db", {"read_only": True}),
        ("get_snapshot_db", {"read_only": True, "isolation_level": "REPEATABLE READ"}),
    ],
)
async def test_request_is_answered_503_within_pool_timeout_and_not_before(
    database_url: str, dependency: str, options: dict[str, Any]
):
    """A request that waits in vain gets 503 and a short sentence; a later one is served."""
    async with limited(database_url) as database, client(_app(database, dependency)) as http:
        async with held(database.session(**options)):
            started = time.monotonic()
            response = await http.get("/")
            took = time.monotonic() - started
        assert (response.status_code, response.json()) == (503, BUSY)
        assert took >= PATIENCE * 0.9
        assert (await http.get("/")).json() == 0


def _app(database: Database, dependency: str) -> FastAPI:
    return reading_app(getattr(database, dependency))


async def test_commit_that_finds_no_connection_is_answered_503(database_url: str):
    """A handler may need its first connection for the commit: nothing is stored, and no 201."""
    app = FastAPI()
    async with limited(database_url) as database, client(app) as http:

        @app.post("/", status_code=201)
        async def write(db: Annotated[AsyncSession, Depends(database.get_db)]) -> None:
            db.add(Note(text="too late"))

        async with held(database.session()):
            response = await http.post("/")
        assert (response.status_code, response.json()) == (503, BUSY)
        assert await stored(database) == []


async def test_dependency_that_finds_no_connection_is_answered_503(database_url: str):
    """The session may be used before the handler runs, by the application's own dependencies."""
    app = FastAPI()
    async with limited(database_url) as database, client(app) as http:
        DB = Annotated[AsyncSession, Depends(database.get_db)]

        async def user(db: DB) -> AsyncIterator[int]:
            yield len((await db.scalars(select(Note))).all())

        @app.get("/")
        async def read(user: Annotated[int, Depends(user)], db: DB) -> int:
            return user

        async with held(database.session()):
            assert (await http.get("/")).status_code == 503
        assert (await http.get("/")).status_code == 200


async def test_request_that_needs_no_sql_is_served_at_the_limit(database_url: str):
    """It neither waits nor is refused."""
    async with (
        limited(database_url, pool_timeout=FOREVER, max_waiting=0) as database,
        client(reading_app(database.get_db)) as http,
        held(database.session()),
    ):
        assert (await http.get("/idle")).json() == "served"
        assert (await http.get("/")).status_code == 503


async def test_past_max_waiting_the_answer_is_503_at_once(database_url: str):
    """One may wait, and is served in the end; the second is not made to wait."""
    async with (
        limited(database_url, pool_timeout=FOREVER, max_waiting=1) as database,
        client(reading_app(database.get_db)) as http,
    ):
        async with held(database.session()):
            first = asyncio.create_task(http.get("/"))
            await eventually(lambda: waiting(database) == 1)
            second = await http.get("/")
            assert (second.status_code, second.json()) == (503, BUSY)
            assert not first.done()
        assert (await first).status_code == 200


def waiting(database: Database) -> int:
    """Return how many wait for a connection that writes."""
    count: int = database.engine.pool.waiting()  # type: ignore[attr-defined]
    return count


@pytest.mark.parametrize("max_waiting", [None, 0])
@pytest.mark.parametrize(
    "key",
    [PoolTimeout, AsyncDBError, sqlalchemy.exc.TimeoutError, HTTPException, 503],
)
async def test_own_exception_handler_wins(database_url: str, key: Any, max_waiting: int | None):
    """It is the library's error, SQLAlchemy's, and FastAPI's: whichever the application handles."""
    async with limited(database_url, max_waiting=max_waiting) as database:
        app = reading_app(database.get_db)
        seen: list[Exception] = []

        @app.exception_handler(key)
        async def mine(request: Request, error: Exception) -> JSONResponse:
            seen.append(error)
            return JSONResponse({"mine": True}, status_code=529)

        async with client(app) as http, held(database.session()):
            response = await http.get("/")
        assert (response.status_code, response.json()) == (529, {"mine": True})
        (error,) = seen
        assert isinstance(error, TooManyWaiting) is (max_waiting == 0)
        assert "the only one is in use" in str(error)
        assert type(error.__cause__) is (TooManyWaiting if max_waiting == 0 else PoolTimeout)


async def test_outside_of_requests_the_error_is_plain(database_url: str):
    """A job gets an error that tells the fact, the likely cause and the next step."""
    async with limited(database_url) as database, held(database.session()):
        with pytest.raises(PoolTimeout) as caught:
            async with database.session() as session:
                await session.connection()
    assert not isinstance(caught.value, HTTPException)
    message = str(caught.value)
    fact = r"No connection became free within \d\.\d s: the only one is in use"
    assert re.match(fact, message)
    assert "await db.commit()" in message
    assert ("all writers share one connection" in message) is database_url.startswith("sqlite")
    assert ("DATABASE_POOL_SIZE" in message) is not database_url.startswith("sqlite")


async def test_message_counts_connections_and_waiters(database_url: str):
    """The limit is pool_size + max_overflow, and others wait as well."""
    async with limited(database_url, pool_size=2, max_overflow=1, max_waiting=1) as database:
        reads = [database.read_session() for _ in range(3)]
        async with held(reads[0]), held(reads[1]), held(reads[2]):
            waiter = asyncio.create_task(_read(database))
            await asyncio.sleep(0.05)
            with pytest.raises(TooManyWaiting, match=r"all 3 are in use .*, 1 wait already"):
                await _read(database)
            with pytest.raises(PoolTimeout, match=r"all 3 are in use .*, and 0 more wait"):
                await waiter


async def _read(database: Database) -> None:
    async with database.read_session() as session:
        await session.connection()


async def test_many_refusals_are_one_warning(database_url: str, caplog: pytest.LogCaptureFixture):
    """Overload is visible in the log, and does not flood it."""
    async with (
        limited(database_url, max_waiting=0) as database,
        client(reading_app(database.get_db)) as http,
        held(database.session()),
    ):
        for _ in range(20):
            assert (await http.get("/")).status_code == 503
    (record,) = (record for record in caplog.records if record.name.endswith("fair_pool"))
    assert record.levelno == logging.WARNING
    assert "the only one is in use" in record.getMessage()


async def test_retry_route_does_not_try_again(database_url: str):
    """A pool at its limit is no conflict: more attempts would make it worse."""
    router = APIRouter(route_class=RetryRoute)
    attempts = 0
    app = FastAPI()
    async with limited(database_url) as database, client(app) as http:

        @router.get("/")
        async def read(db: Annotated[AsyncSession, Depends(database.get_db)]) -> None:
            nonlocal attempts
            attempts += 1
            await db.connection()

        app.include_router(router)
        async with held(database.session()):
            assert (await http.get("/")).status_code == 503
    assert attempts == 1


async def test_stream_that_has_begun_fails_like_any_other(database_url: str):
    """After the first byte there is no 503 any more: the error reaches the server as it is."""
    app = FastAPI()
    async with limited(database_url) as database:

        @app.get("/")
        async def stream(
            db: Annotated[AsyncSession, Depends(database.get_db)],
        ) -> StreamingResponse:
            async def body() -> AsyncIterator[str]:
                yield "begun"
                await db.connection()

            return StreamingResponse(body())

        request = RawRequest(app, "/")
        async with held(database.session()):
            with pytest.raises(PoolTimeout) as caught:
                await request.run()
        assert (request.status, request.body) == (200, b"begun")
        assert not isinstance(caught.value, HTTPException)


def socket_app(database: Database) -> FastAPI:
    """A socket that asks the database before it accepts, and one that does so after."""
    app = FastAPI()
    DB = Annotated[AsyncSession, Depends(database.get_db)]

    @app.websocket("/before")
    async def before(socket: WebSocket, db: DB) -> None:
        await db.connection()
        await socket.accept()

    @app.websocket("/after")
    async def after(socket: WebSocket, db: DB) -> None:
        await socket.accept()
        await db.connection()

    return app


async def test_socket_is_denied_with_503_before_it_is_accepted(database_url: str):
    """The handshake is answered, as a request would be."""
    async with (
        limited(database_url) as database,
        http_server(socket_app(database)) as address,
        held(database.session()),
    ):
        with pytest.raises(InvalidStatus) as caught:
            async with connect(f"ws://{address}/before"):
                pass
    assert caught.value.response.status_code == 503
    assert b"busy" in (caught.value.response.body or b"")


async def test_socket_that_was_accepted_is_told_to_try_again_later(database_url: str):
    """There is no status any more, but there is a code for it: 1013."""
    async with (
        limited(database_url) as database,
        http_server(socket_app(database)) as address,
        held(database.session()),
        connect(f"ws://{address}/after") as socket,
    ):
        with pytest.raises(ConnectionClosed) as caught:
            await socket.recv()
    assert caught.value.rcvd is not None
    assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (1013, BUSY["detail"])


async def test_own_handler_wins_on_sockets_too(database_url: str):
    """It gets the socket, and the same message as for a request."""
    async with limited(database_url, max_waiting=0) as database:
        app = socket_app(database)
        seen: list[str] = []

        @app.exception_handler(PoolTimeout)
        async def mine(socket: WebSocket, error: PoolTimeout) -> None:
            seen.append(str(error))
            await socket.close(4000)

        async with (
            http_server(app) as address,
            held(database.session()),
            connect(f"ws://{address}/after") as socket,
        ):
            with pytest.raises(ConnectionClosed) as caught:
                await socket.recv()
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 4000
    (message,) = seen
    assert message.startswith("No connection is free: the only one is in use, 0 wait already")
    assert "sqlalche.me" not in message


async def test_server_that_cannot_deny_a_socket_closes_it(database_url: str):
    """Without the extension of ASGI for it, no response may be sent."""
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/before", "headers": [], "query_string": b""}
    async with limited(database_url, max_waiting=0) as database, held(database.session()):
        await socket_app(database)(scope, receive, send)
    assert sent == [{"type": "websocket.close", "code": 1013, "reason": BUSY["detail"]}]
