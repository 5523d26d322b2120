"""A dependency, or a session that was not entered, taken for a session: the error says what to write."""

import asyncio
import pickle
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, WebSocket
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from websockets.asyncio.client import connect

from fastapi_asyncdb import DB, Database, default_database, get_db, get_read_db, get_snapshot_db
from fastapi_asyncdb.errors import AsyncDBError, NotASession
from tests.support.application import client
from tests.support.databases import ONE_DRIVER
from tests.support.http_server import http_server

pytestmark = pytest.mark.databases(*ONE_DRIVER)

Get = Callable[..., Any]


async def _async_for(get: Get) -> None:
    async for _ in get():
        pass


async def _anext(get: Get) -> None:
    await anext(get())


async def _anext_of_iterator(get: Get) -> None:
    await get().__anext__()


async def _asynccontextmanager(get: Get) -> None:
    async with asynccontextmanager(get)():
        pass


async def _await(get: Get) -> None:
    await get()


async def _next(get: Get) -> None:
    next(get())


async def _for(get: Get) -> None:
    for _ in get():
        pass


async def _with(get: Get) -> None:
    with get():
        pass


async def _use(get: Get) -> None:
    await get().execute(text("SELECT 1"))


async def _async_with(get: Get) -> None:
    async with get():
        pass


_WAYS = [
    _async_for,
    _anext,
    _anext_of_iterator,
    _asynccontextmanager,
    _await,
    _next,
    _for,
    _with,
    _use,
]


@pytest.mark.parametrize("way", [*_WAYS, _async_with])
@pytest.mark.parametrize(
    "get", [get_db, get_read_db, get_snapshot_db, default_database.dependency()]
)
async def test_dependency_that_is_called_outside_of_fastapi_says_what_to_write(
    get: Get, way: Callable[[Get], Awaitable[None]]
):
    """As generators of the textbook are used in scripts, and by fastapi-users' documentation."""
    with pytest.raises(
        NotASession, match=r"dependency.*'async with database\.session\(\)"
    ) as caught:
        await way(get)
    assert isinstance(caught.value, AsyncDBError)
    assert isinstance(caught.value, TypeError)


@pytest.mark.parametrize("way", _WAYS)
@pytest.mark.parametrize("name", ["session", "read_session"])
async def test_session_that_was_not_entered_says_what_to_write(
    database: Database, name: str, way: Callable[[Get], Awaitable[None]]
):
    """``s = database.session(); await s.execute(...)`` forgets the block that commits and closes."""
    with pytest.raises(NotASession, match=r"'async with database\.session\(\) as session:'"):
        await way(getattr(database, name))


@pytest.mark.parametrize(
    ("way", "words"),
    [
        (_async_for, "was iterated"),
        (_await, "was awaited"),
        (_use, "was asked for 'execute'"),
        (_async_with, "was entered"),
    ],
)
async def test_message_tells_the_misuse(way: Callable[[Get], Awaitable[None]], words: str):
    """The fact comes first."""
    with pytest.raises(NotASession, match=rf"^The result of get_db\(\) {words}"):
        await way(get_db)


async def test_what_is_no_session_answers_as_any_object(database: Database):
    """Debuggers and hasattr look at objects without being told off."""
    for instance in (get_db(), database.session()):  # type: ignore[call-arg]
        assert not hasattr(instance, "execute")
        assert not hasattr(instance, "__nothing__")
        assert "object at" in repr(instance)


async def test_dependency_may_be_called_with_a_session(database: Database):
    """Code of one's own may pass on the session that it has."""
    async with database.session() as session:
        assert await get_db(session) is session
        assert await get_db(session=session) is session  # type: ignore[call-arg]


async def test_fastapi_still_sees_a_coroutine_function(database: Database):
    """It runs on the event loop, also as an override's target, in routes and sockets."""
    app = FastAPI()
    main = asyncio.get_running_loop()
    seen: list[bool] = []

    @app.get("/")
    async def endpoint(db: Annotated[AsyncSession, Depends(database.get_db)]) -> int:
        seen.append(asyncio.get_running_loop() is main)
        return int((await db.execute(text("SELECT 1"))).scalar_one())

    @app.websocket("/socket")
    async def socket(socket: WebSocket, db: Annotated[AsyncSession, Depends(database.get_db)]):
        await socket.accept()
        await socket.send_text(str((await db.execute(text("SELECT 1"))).scalar_one()))
        await socket.close()

    @app.get("/default")
    async def default(db: DB) -> str:
        return type(db).__name__

    assert asyncio.iscoroutinefunction(database.get_db)
    async with client(app) as http:
        assert (await http.get("/")).json() == 1
        app.dependency_overrides[get_db] = lambda: "overridden"
        assert (await http.get("/default")).json() == "str"
    async with http_server(app) as address, connect(f"ws://{address}/socket") as connection:
        assert await connection.recv() == "1"
    assert seen == [True]


def test_names_of_the_default_handle_are_its_dependencies():
    """One object each: overrides find it."""
    assert get_db is default_database.get_db
    assert get_read_db is default_database.get_read_db
    assert get_snapshot_db is default_database.get_snapshot_db


def test_error_may_be_pickled():
    """A worker may send it to another process."""
    error = NotASession("words")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
