"""Sockets take the same dependency."""

from typing import Annotated

import pytest
from fastapi import Depends, FastAPI, WebSocket
from sqlalchemy.ext.asyncio import AsyncSession
from websockets.asyncio.client import connect

from fastapi_asyncdb import Database
from fastapi_asyncdb.errors import SessionClosed
from tests.support.application import Note, checked_out, eventually, stored
from tests.support.http_server import http_server

pytestmark = pytest.mark.promise("T12")


def socket_app(database: Database, sessions: list[AsyncSession]) -> FastAPI:
    """One endpoint that keeps its session, one that opens a session per message."""
    app = FastAPI()

    @app.websocket("/short")
    async def short(socket: WebSocket, db: Annotated[AsyncSession, Depends(database.get_db)]):
        sessions.append(db)
        await socket.accept()
        while (text := await socket.receive_text()) != "done":
            db.add(Note(text=text))
            await db.flush()
            await socket.send_text("flushed")
        await socket.close()

    @app.websocket("/long")
    async def long(socket: WebSocket):
        await socket.accept()
        async for text in socket.iter_text():
            async with database.session() as session:
                session.add(Note(text=text))
            await socket.send_text("committed")

    return app


async def test_socket_commits_when_its_endpoint_returns(database: Database):
    """Nothing is seen while the socket is open, everything once its endpoint has returned."""
    sessions: list[AsyncSession] = []
    async with http_server(socket_app(database, sessions)) as address:
        async with connect(f"ws://{address}/short") as socket:
            await socket.send("hello")
            assert await socket.recv() == "flushed"
            assert await stored(database) == []
            await socket.send("done")
            await socket.wait_closed()
        await eventually(lambda: checked_out(database) == 0)
    assert await stored(database) == ["hello"]
    try:
        sessions[0].add(Note(text="late"))
    except SessionClosed:
        return
    raise AssertionError("the socket's session went on after its endpoint")


async def test_socket_that_the_client_leaves_is_rolled_back(database: Database):
    """A disconnect raises in the endpoint, and what raises is rolled back."""
    async with http_server(socket_app(database, [])) as address:
        async with connect(f"ws://{address}/short") as socket:
            await socket.send("hello")
            assert await socket.recv() == "flushed"
        await eventually(lambda: checked_out(database) == 0)
    assert await stored(database) == []


async def test_long_lived_socket_commits_message_by_message(database: Database):
    """database.session() per message holds a connection only while it writes."""
    async with (
        http_server(socket_app(database, [])) as address,
        connect(f"ws://{address}/long") as socket,
    ):
        for text in ("one", "two"):
            await socket.send(text)
            assert await socket.recv() == "committed"
            assert checked_out(database) == 0
        assert await stored(database) == ["one", "two"]
