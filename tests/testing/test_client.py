"""async_client runs the application as a server would, and hides none of its errors."""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Annotated, Any

import anyio
import httpx
import pytest
from fastapi import Depends, FastAPI, Request
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import Database, DatabaseSettings
from fastapi_asyncdb.errors import DatabaseNotStarted, DatabaseUnavailable, MissingExtra
from fastapi_asyncdb.testing import async_client
from tests.support.databases import ONE_DRIVER

pytestmark = pytest.mark.databases(*ONE_DRIVER)

seen_by_requests: ContextVar[str] = ContextVar("seen_by_requests", default="nothing")


def stateful_app(journal: list[str]) -> FastAPI:
    """An application whose lifespan enters a cancel scope and yields state."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        seen_by_requests.set("the lifespan's")
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep_forever)
            journal.append("started")
            yield {"name": "ada", "counted": []}
            group.cancel_scope.cancel()
        journal.append("stopped")

    app = FastAPI(lifespan=lifespan)

    @app.get("/state")
    async def state(request: Request) -> list[object]:
        request.state.counted.append(1)
        given = request.state.name
        request.state.name = "eve"
        return [given, len(request.state.counted), seen_by_requests.get()]

    @app.get("/broken")
    async def broken() -> None:
        raise ZeroDivisionError

    return app


async def test_database_runs_while_the_client_is_open(database_url: str):
    """The lifespan starts the handle before the first request and stops it at the end."""
    database = Database(DatabaseSettings(url=database_url))
    app = FastAPI(lifespan=database.lifespan)

    @app.get("/")
    async def answer(db: Annotated[AsyncSession, Depends(database.get_db)]) -> Any:
        return await db.scalar(text("SELECT 42"))

    async with async_client(app) as client:
        assert (await client.get("/")).json() == 42
    with pytest.raises(DatabaseNotStarted):
        database.pool_status()


async def test_each_request_has_its_own_copy_of_the_state():
    """What one request sets no other sees; what the state holds is shared, as under a server."""
    async with async_client(stateful_app([])) as client:
        assert (await client.get("/state")).json() == ["ada", 1, "nothing"]
        assert (await client.get("/state")).json() == ["ada", 2, "nothing"]


async def test_entering_and_leaving_may_be_in_two_tasks():
    """A fixture's two halves may be; the lifespan's are not, which cancel scopes ask for."""
    journal: list[str] = []
    manager = async_client(stateful_app(journal))
    client = await asyncio.create_task(manager.__aenter__())
    assert (await client.get("/state")).status_code == 200
    await asyncio.create_task(manager.__aexit__(None, None, None))
    assert journal == ["started", "stopped"]


async def test_handlers_errors_are_raised_or_answered():
    """As httpx has it: raised by default, a 500 on demand."""
    app = stateful_app([])
    async with async_client(app) as client:
        with pytest.raises(ZeroDivisionError):
            await client.get("/broken")
    async with async_client(app, raise_app_exceptions=False) as client:
        assert (await client.get("/broken")).status_code == 500


async def test_options_are_the_clients():
    """Headers and base URL reach the application."""
    app = FastAPI()

    @app.get("/")
    async def echo(request: Request) -> list[str]:
        return [request.headers["x-token"], str(request.base_url)]

    async with async_client(app, base_url="https://api", headers={"x-token": "t"}) as client:
        assert (await client.get("/")).json() == ["t", "https://api/"]


async def test_client_is_closed_afterwards():
    """The client itself refuses requests to an application that has stopped."""
    async with async_client(FastAPI()) as client:
        pass
    with pytest.raises(RuntimeError, match="client has been closed"):
        await client.get("/")


async def test_startup_error_surfaces_as_it_is(unused_port: int):
    """The library's own error, with its message, and not a wrapper's."""
    url = f"postgresql://nobody@127.0.0.1:{unused_port}/none"
    database = Database(DatabaseSettings(url=url, startup_timeout=0.1))
    with pytest.raises(DatabaseUnavailable):
        async with async_client(FastAPI(lifespan=database.lifespan)):
            pytest.fail("It has not started.")


@pytest.mark.parametrize("body_fails", [False, True])
async def test_shutdown_error_surfaces_as_it_is(body_fails: bool):
    """If the block has failed as well, the traceback shows both."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        raise KeyError("shutdown")

    with pytest.raises(KeyError, match="shutdown") as caught:
        async with async_client(FastAPI(lifespan=lifespan)):
            if body_fails:
                raise AssertionError("body")
    assert isinstance(caught.value.__context__, AssertionError) is body_fails


async def test_block_that_raises_or_is_cancelled_stops_the_application():
    """The lifespan is left to its end, also inside of a cancelled scope."""
    journal: list[str] = []
    app = stateful_app(journal)
    with pytest.raises(ZeroDivisionError):
        async with async_client(app):
            raise ZeroDivisionError
    with anyio.CancelScope() as scope:
        async with async_client(app):
            scope.cancel()
            await anyio.sleep_forever()
    assert journal == ["started", "stopped"] * 2


async def test_cancelled_start_leaves_no_task():
    """What the lifespan has begun is undone before the cancellation goes on."""
    journal: list[str] = []

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        try:
            await asyncio.sleep(60)
            yield
        finally:
            await asyncio.sleep(0)
            journal.append("undone")

    before = asyncio.all_tasks()
    with anyio.move_on_after(0.05):
        async with async_client(FastAPI(lifespan=lifespan)):
            pytest.fail("It has not started.")
    assert journal == ["undone"]
    assert asyncio.all_tasks() == before


async def test_application_may_be_any_asgi_application(caplog: pytest.LogCaptureFixture):
    """One that knows no lifespan runs without, as under a server; the log says so."""

    async def hello(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})

    async with async_client(hello) as client:
        assert (await client.get("/")).text == "hello"
    (record,) = [record for record in caplog.records if record.name.startswith("fastapi_asyncdb")]
    assert record.levelno == logging.WARNING
    assert "runs no lifespan" in record.getMessage()


async def test_startup_that_fails_without_a_word_fails_the_test():
    """An application that has asked for the startup knows the protocol, and is expected to start."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        async with async_client(app):
            pass


@pytest.mark.parametrize("step", ["startup", "shutdown"])
async def test_application_that_reports_a_failure_fails_the_test(step: str):
    """It may say so without raising, and then wait for what never comes."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while True:
            message = await receive()
            answer = "failed" if message["type"].endswith(step) else "complete"
            await send({"type": f"{message['type']}.{answer}", "message": "no disk"})

    with pytest.raises(RuntimeError, match=f"{step} failed: no disk"):
        async with async_client(app):
            assert step == "shutdown"


async def test_missing_httpx_is_named(monkeypatch: pytest.MonkeyPatch):
    """The message has the line to type."""
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(MissingExtra, match=r"pip install 'fastapi-asyncdb\[testing\]'"):
        async with async_client(FastAPI()):
            pass
    assert httpx is not None
