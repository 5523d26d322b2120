"""A request that runs no SQL is served by an application whose ``Database`` was not started."""

from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI, HTTPException, WebSocket
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession
from websockets.asyncio.client import connect

from fastapi_asyncdb import Database, DatabaseSettings, on_commit
from fastapi_asyncdb.errors import DatabaseNotStarted
from tests.support.application import Base, Note, client, stored
from tests.support.databases import ONE_DRIVER
from tests.support.http_server import http_server

pytestmark = [pytest.mark.promise("T5"), pytest.mark.databases(*ONE_DRIVER)]

_DEPENDENCIES = ["get_db", "get_read_db", "get_snapshot_db"]


def app_of(dependency: Any, seen: list[str]) -> FastAPI:
    """Routes with a session: some use it, some do not."""
    app = FastAPI()
    DB = Annotated[AsyncSession, Depends(dependency)]

    @app.get("/idle")
    async def idle(db: DB) -> str:
        on_commit(db, seen.append, "served")
        return "served"

    @app.get("/me")
    async def me(db: DB) -> None:
        raise HTTPException(401)

    @app.get("/number")
    async def number(number: int, db: DB) -> None: ...

    @app.get("/notes")
    async def notes(db: DB) -> int:
        return len((await db.scalars(select(Note))).all())

    @app.post("/notes", status_code=201)
    async def add(db: DB) -> None:
        db.add(Note(text="never"))

    @app.websocket("/socket")
    async def socket(websocket: WebSocket, db: DB) -> None:
        await websocket.accept()
        await websocket.close(4401)

    return app


@pytest.mark.parametrize("dependency", _DEPENDENCIES)
async def test_requests_without_sql_need_no_start(dependency: str):
    """401 and 422 stay what they are under a plain ASGITransport, which runs no lifespan."""
    seen: list[str] = []
    async with client(app_of(getattr(Database(), dependency), seen)) as http:
        assert (await http.get("/idle")).json() == "served"
        assert (await http.get("/me")).status_code == 401
        assert (await http.get("/number", params={"number": "x"})).status_code == 422
    assert seen == ["served"]


async def test_socket_without_sql_needs_no_start():
    """The same for the endpoint of a WebSocket."""
    async with (
        http_server(app_of(Database().get_db, [])) as address,
        connect(f"ws://{address}/socket") as socket,
    ):
        await socket.wait_closed()
        assert socket.close_code == 4401


@pytest.mark.parametrize("dependency", _DEPENDENCIES)
@pytest.mark.parametrize(("method", "path"), [("GET", "/notes"), ("POST", "/notes")])
async def test_first_use_says_how_to_start(dependency: str, method: str, path: str):
    """The error comes where a connection would be taken, with the message of before."""
    app = app_of(getattr(Database(), dependency), [])
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        with pytest.raises(DatabaseNotStarted, match=r"lifespan=.*httpx.*async with database:"):
            await http.request(method, path)


async def test_session_from_before_the_start_may_be_used_after_it(database_url: str):
    """A request may start what it needs: its session looks for the engine when it needs one."""
    database = Database(DatabaseSettings(url=database_url))
    app = FastAPI()

    @app.post("/", status_code=201)
    async def endpoint(db: Annotated[AsyncSession, Depends(database.get_db)]) -> None:
        with pytest.raises(DatabaseNotStarted):
            await db.execute(text("SELECT 1"))
        await database.start(create_tables=Base.metadata)
        db.add(Note(text="late"))

    async with client(app) as http:
        assert (await http.post("/")).status_code == 201
    assert await stored(database) == ["late"]
    await database.stop()
