"""No connection can be made: requests are answered with 503, jobs get an error, the start may go on."""

import asyncio
import logging
import os
import pickle
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, WebSocket
from fastapi.responses import JSONResponse, StreamingResponse
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncSession
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from fastapi_asyncdb import Database, DatabaseSettings, RetryRoute, create_lifespan, on_rollback
from fastapi_asyncdb.errors import (
    AsyncDBError,
    CannotConnect,
    ConfigurationError,
    DatabaseUnavailable,
)
from fastapi_asyncdb.testing import PostgresServer
from fastapi_asyncdb.testing.servers.folder import free_port
from tests.support.application import Base, Note, checked_out, client, eventually
from tests.support.application import Request as RawRequest
from tests.support.http_server import http_server
from tests.support.leaks import PASSWORD, leaks
from tests.support.tcp_proxy import tcp_proxy

UNAVAILABLE = {"detail": "The database is not available. Please try again later."}


def settings_at(port: int, driver: str = "asyncpg", **options: Any) -> DatabaseSettings:
    """Settings for a port of this machine, with a password that must show nowhere."""
    url = f"postgresql+{driver}://postgres:{PASSWORD}@127.0.0.1:{port}/postgres"
    return DatabaseSettings(url=url, **{"connect_timeout": 5, "pool_ping_idle": 0, **options})


def app_of(database: Database, dependency: str = "get_db") -> FastAPI:
    """A route that reads, one that writes, one that needs no SQL."""
    app = FastAPI()
    DB = Annotated[AsyncSession, Depends(getattr(database, dependency))]

    @app.get("/")
    async def read(db: DB) -> int:
        return int((await db.execute(text("SELECT 1"))).scalar_one())

    @app.post("/", status_code=201)
    async def write(db: DB) -> None:
        db.add(Note(text="never"))

    @app.get("/idle")
    async def idle(db: DB) -> str:
        return "served"

    return app


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """Return what the library warned of."""
    return [
        record
        for record in caplog.records
        if record.name.startswith("fastapi_asyncdb") and record.levelno >= logging.WARNING
    ]


@pytest.fixture
async def down(unused_port: int) -> AsyncIterator[Database]:
    """A handle that runs although nothing listens there."""
    database = Database(settings_at(unused_port))
    await database.start(require_connection=False)
    yield database
    assert checked_out(database) == 0
    await database.stop()


async def test_application_starts_without_its_database_and_recovers_by_itself(
    driver: str, server_url: str, caplog: pytest.LogCaptureFixture
):
    """503 until the database is there, and 200 from then on; the log has the cause and the end, once."""
    port = free_port()
    database = Database(settings_at(port, driver))
    app = app_of(database)
    app.router.lifespan_context = create_lifespan(databases=[database], require_connection=False)
    async with app.router.lifespan_context(app), client(app) as http:
        (record,) = warnings_in(caplog)
        assert record.levelno == logging.WARNING
        assert "efused" in record.getMessage()
        assert "Nothing listens there: start the server" in record.getMessage()
        assert (await http.get("/idle")).json() == "served"
        for _ in range(3):
            response = await http.get("/")
            assert (response.status_code, response.json()) == (503, UNAVAILABLE)
        async with tcp_proxy(urlsplit(server_url).port or 5432, port):
            assert (await http.get("/")).json() == 1
            await database.engine.dispose()
        assert PASSWORD not in caplog.text
    _, back = warnings_in(caplog)
    assert "The database is back" in back.getMessage()


async def test_outage_of_a_running_application_is_answered_503(
    driver: str, caplog: pytest.LogCaptureFixture
):
    """Also for a commit that needs the first connection; a statement that is cut off stays a 500."""
    with PostgresServer() as server:
        url = server.url().replace("postgresql:", f"postgresql+{driver}:")
        settings = DatabaseSettings(url=url, pool_ping_idle=0)
        database = Database(settings, metadata=Base.metadata)
        app = app_of(database)
        lifespan = create_lifespan(databases=[database], auto_create_tables=True)
        async with lifespan(app), client(app) as http:
            assert (await http.get("/")).json() == 1

            @app.get("/cut")
            async def cut(db: Annotated[AsyncSession, Depends(database.get_db)]) -> None:
                await db.execute(text("SELECT 1"))
                await asyncio.to_thread(server.kill)
                await db.execute(text("SELECT 1"))

            assert (await http.get("/cut")).status_code == 500
            for method in ("GET", "POST"):
                response = await http.request(method, "/")
                assert (response.status_code, response.json()) == (503, UNAVAILABLE)
            assert (await http.get("/idle")).json() == "served"
            await asyncio.to_thread(server.restart)
            assert (await http.post("/")).status_code == 201
    # Beside it, the statement that was cut off may be told of, if the server's last message came.
    found = [r for r in warnings_in(caplog) if r.name == "fastapi_asyncdb.pool.server_limit"]
    away, back = (record.getMessage() for record in found)
    assert away.startswith("The database is away")
    assert "efused" in away
    assert back.startswith("The database is back")


@pytest.mark.parametrize(
    "key", [CannotConnect, AsyncDBError, OperationalError, DBAPIError, HTTPException, 503]
)
async def test_own_exception_handler_wins(down: Database, key: Any):
    """It is the library's error, SQLAlchemy's, and FastAPI's: whichever the application handles."""
    app = app_of(down)
    seen: list[Exception] = []

    @app.exception_handler(key)
    async def mine(request: Request, error: Exception) -> JSONResponse:
        seen.append(error)
        return JSONResponse({"mine": True}, status_code=529)

    async with client(app) as http:
        response = await http.get("/")
    assert (response.status_code, response.json()) == (529, {"mine": True})
    (error,) = seen
    assert isinstance(error, CannotConnect)
    assert "efused" in str(error)
    assert error.orig is not None
    assert not leaks(error)


async def test_jobs_get_an_error_that_is_sqlalchemys_and_holds_no_password(
    driver: str, unused_port: int
):
    """The fact, the cause and the next step; it says that nothing was done, and no response."""
    hooks: list[str] = []
    async with database_at(unused_port, driver) as database:
        with pytest.raises(CannotConnect) as caught:
            async with database.session() as session:
                on_rollback(session, hooks.append, "undone")
                session.add(Note(text="never"))
    error = caught.value
    assert isinstance(error, OperationalError)
    assert HTTPException not in type(error).__mro__
    assert not error.connection_invalidated
    assert str(error).startswith(f"Cannot connect to postgresql+{driver}://postgres:***@127.0.0.1")
    assert "Nothing listens there: start the server" in str(error)
    assert str(pickle.loads(pickle.dumps(error.with_traceback(None)))) == str(error)
    assert not leaks(error)
    assert hooks == ["undone"]


@asynccontextmanager
async def database_at(port: int, driver: str) -> AsyncIterator[Database]:
    """Run a handle whatever listens on the port."""
    database = Database(settings_at(port, driver))
    async with database.lifespan(require_connection=False):
        yield database


async def test_cause_that_waiting_does_not_cure_is_logged_as_an_error(
    driver: str, server_url: str, caplog: pytest.LogCaptureFixture
):
    """The database may be made while the application runs, and needs no restart then."""
    name = f"made_later_{driver}_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
    url = urlsplit(server_url)._replace(scheme=f"postgresql+{driver}", path=f"/{name}").geturl()
    database = Database(DatabaseSettings(url=url))
    async with client(app_of(database)) as http:
        await database.start(require_connection=False)
        (record,) = warnings_in(caplog)
        assert record.levelno == logging.ERROR
        assert (
            f"createdb {name.upper()}" in record.getMessage() or "createdb" in record.getMessage()
        )
        assert (await http.get("/")).status_code == 503
        connection = await asyncpg.connect(server_url)
        await connection.execute(f"CREATE DATABASE {name}")
        try:
            assert (await http.get("/")).json() == 1
        finally:
            await database.stop()
            await connection.execute(f"DROP DATABASE {name}")
            await connection.close()


@pytest.mark.parametrize("dependency", ["get_db", "get_read_db", "get_snapshot_db"])
async def test_sqlite_whose_folder_is_missing(dependency: str, tmp_path: Path):
    """The same for a file, which may lie on a volume that is not mounted yet."""
    database = Database(DatabaseSettings(url=f"sqlite:///{tmp_path}/volume/app.db"))
    await database.start(require_connection=False)
    async with client(app_of(database, dependency)) as http:
        response = await http.get("/")
        assert (response.status_code, response.json()) == (503, UNAVAILABLE)
        (tmp_path / "volume").mkdir()
        async with database.session() as session:
            await session.execute(text("SELECT 1"))
        assert (await http.get("/")).json() == 1
    await database.stop()


async def test_tables_are_not_created_without_a_connection(unused_port: int):
    """Both at once would leave it open whether the tables are there: refused where it is written."""
    with pytest.raises(ConfigurationError, match="require_connection=False"):
        create_lifespan(metadata=Base.metadata, auto_create_tables=True, require_connection=False)
    database = Database(settings_at(unused_port))
    with pytest.raises(ConfigurationError, match="require_connection=False"):
        await database.start(create_tables=Base.metadata, require_connection=False)


async def test_connection_is_required_unless_said_otherwise(unused_port: int):
    """A start without the database fails, as before."""
    with pytest.raises(DatabaseUnavailable):
        await Database(settings_at(unused_port, startup_timeout=0)).start()


async def test_wrong_settings_fail_whatever_is_required():
    """A URL that cannot be read is no outage."""
    with pytest.raises(ConfigurationError):
        await Database(DatabaseSettings(url="nonsense")).start(require_connection=False)


async def test_retry_route_does_not_try_again(down: Database):
    """A database that is down is no conflict."""
    router = APIRouter(route_class=RetryRoute)
    attempts = 0
    app = FastAPI()

    @router.get("/")
    async def read(db: Annotated[AsyncSession, Depends(down.get_db)]) -> None:
        nonlocal attempts
        attempts += 1
        await db.connection()

    app.include_router(router)
    async with client(app) as http:
        assert (await http.get("/")).status_code == 503
    assert attempts == 1


async def test_stream_that_has_begun_fails_like_any_other(down: Database):
    """After the first byte there is no 503 any more: the error reaches the server as it is."""
    app = FastAPI()

    @app.get("/")
    async def stream(db: Annotated[AsyncSession, Depends(down.get_db)]) -> StreamingResponse:
        async def body() -> AsyncIterator[str]:
            yield "begun"
            await db.connection()

        return StreamingResponse(body())

    request = RawRequest(app, "/")
    with pytest.raises(CannotConnect) as caught:
        await request.run()
    assert (request.status, request.body) == (200, b"begun")
    assert HTTPException not in type(caught.value).__mro__


async def test_sockets_are_told_to_try_again_later(down: Database):
    """503 to the handshake, or a close with code 1013 after it."""
    app = FastAPI()
    DB = Annotated[AsyncSession, Depends(down.get_db)]

    @app.websocket("/before")
    async def before(socket: WebSocket, db: DB) -> None:
        await db.connection()

    @app.websocket("/after")
    async def after(socket: WebSocket, db: DB) -> None:
        await socket.accept()
        await db.connection()

    async with http_server(app) as address:
        with pytest.raises(InvalidStatus) as denied:
            async with connect(f"ws://{address}/before"):
                pass
        async with connect(f"ws://{address}/after") as socket:
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
    assert denied.value.response.status_code == 503
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1013, UNAVAILABLE["detail"])


async def test_database_that_never_answers_is_answered_503(
    driver: str, server_url: str, caplog: pytest.LogCaptureFixture
):
    """A silent network costs one connect_timeout, for the start and for each request."""
    async with tcp_proxy(urlsplit(server_url).port or 5432) as proxy:
        proxy.silent = True
        database = Database(settings_at(proxy.port, driver, connect_timeout=0.3))
        await database.start(require_connection=False)
        async with client(app_of(database)) as http:
            response = await http.get("/")
            assert (response.status_code, response.json()) == (503, UNAVAILABLE)
            await eventually(lambda: checked_out(database) == 0)
            proxy.silent = False
            assert (await http.get("/")).json() == 1
        await database.stop()
    assert "firewall" in caplog.text
