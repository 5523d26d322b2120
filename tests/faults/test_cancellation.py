"""Whatever is cancelled, and whenever, commits and rollbacks finish and nothing leaks."""

import asyncio
import pickle
import random
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Annotated, Any

import httpx
import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, concurrency
from fastapi.responses import StreamingResponse
from sqlalchemy import event, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.util import await_only

from fastapi_asyncdb import Database, DatabaseSettings
from fastapi_asyncdb.errors import AsyncDBError, RollbackTimeout
from tests.support.application import Base, Note, Request, checked_out, eventually, stored
from tests.support.cancelling import (
    FOREVER,
    Cancellable,
    Witness,
    closed_connections,
    pause,
    slow_query,
)
from tests.support.grace import shorten
from tests.support.http_server import http_server
from tests.support.tcp_proxy import Proxy

pytestmark = [pytest.mark.promise("T10"), pytest.mark.usefixtures("witness")]


@pytest.fixture(params=["task", "scope"])
def how(request: pytest.FixtureRequest) -> str:
    """Asyncio's way to cancel, and AnyIO's."""
    name: str = request.param
    return name


def app_for(database: Database, reached: asyncio.Event) -> FastAPI:
    """An application that can be cancelled everywhere; it says when it got there."""
    DB = Annotated[AsyncSession, Depends(database.get_db)]
    app = FastAPI()

    async def write_and_wait(db: AsyncSession) -> None:
        db.add(Note(text="lost"))
        await db.flush()
        reached.set()
        await db.execute(text(slow_query(database)))

    @app.post("/write")
    async def write(db: DB) -> None:
        reached.set()
        db.add(Note(text="written"))

    @app.post("/explicit")
    async def explicit(db: DB) -> None:
        db.add(Note(text="written"))
        await db.commit()

    @app.post("/block")
    async def block(db: DB) -> None:
        async with db.begin():
            db.add(Note(text="written"))

    @app.post("/query")
    async def query(db: DB) -> None:
        await write_and_wait(db)

    @app.post("/idle")
    async def idle(db: DB) -> None:
        db.add(Note(text="lost"))
        await db.flush()
        reached.set()
        await asyncio.sleep(60)

    @app.post("/fail")
    async def fail(db: DB) -> None:
        db.add(Note(text="lost"))
        await db.flush()
        raise RuntimeError

    @app.post("/stream")
    async def stream(db: DB) -> StreamingResponse:
        async def body() -> AsyncIterator[str]:
            yield "first\n"
            await write_and_wait(db)

        db.add(Note(text="written"))
        return StreamingResponse(body())

    @app.post("/background")
    async def background(db: DB, tasks: BackgroundTasks) -> None:
        db.add(Note(text="written"))
        tasks.add_task(write_and_wait, db)

    return app


async def cancelled(database: Database, path: str, how: str, reached: asyncio.Event) -> None:
    """Send a request, and cancel it when it is there."""
    run = Cancellable(Request(app_for(database, reached), path, "POST").run, how)
    run.start()
    async with asyncio.timeout(5):
        await reached.wait()
        # What comes next in the handler is a query, and its way to the database has some steps.
        await asyncio.sleep(0.02)
        await run.cancel()


@asynccontextmanager
async def pool_in_use(database: Database) -> AsyncIterator[None]:
    """Hold every connection of the pool."""
    async with AsyncExitStack() as stack:
        for _ in range(1 if database.engine.dialect.name == "sqlite" else 2):
            session = await stack.enter_async_context(database.session())
            await session.execute(select(Note))
        yield


async def write_a_note(database: Database) -> None:
    """Need a connection at the commit, and not before."""
    async with database.session() as session:
        session.add(Note(text="written"))


async def test_waiting_for_a_connection(database: Database, how: str):
    """A task that is cancelled while it waits for the pool leaves at once, without a connection."""
    run = Cancellable(lambda: write_a_note(database), how)
    async with pool_in_use(database):
        run.start()
        await asyncio.sleep(0.05)
        # pool_in_use ends after it: a task that went on waiting would raise PoolTimeout.
        await run.cancel()
    assert await stored(database) == []


async def test_request_waiting_for_a_connection(database: Database, how: str):
    """The same in a request, unless FastAPI itself holds off the scope until its exit is over."""
    shielded = how == "scope" and hasattr(concurrency, "_asynccontextmanager_with_shielded_exit")
    reached = asyncio.Event()
    run = Cancellable(Request(app_for(database, reached), "/write", "POST").run, how)
    async with pool_in_use(database):
        run.start()
        await reached.wait()
        await asyncio.sleep(0.05)
        ending = asyncio.create_task(run.cancel())
        await asyncio.wait([ending], timeout=0.5)
        assert ending.done() is not shielded
    async with asyncio.timeout(1):
        await ending
    assert await stored(database) == (["written"] if shielded else [])


async def test_query(database: Database, how: str):
    """A query that is cut off is ended on the server, and its connection is discarded."""
    closed = closed_connections(database)
    await cancelled(database, "/query", how, asyncio.Event())
    assert len(closed) == 1
    assert await stored(database) == []


@pytest.mark.databases("postgresql-asyncpg", "postgresql-psycopg")
async def test_query_that_is_slower_than_its_cancellation(
    database_url: str, witness: Witness, proxy: Proxy, how: str
):
    """The server ignores a cancellation that it gets before the query, which must not go on there."""
    url = proxy.through(database_url, make_url(database_url).get_driver_name())
    async with Database(DatabaseSettings(url=url)) as database:

        async def work() -> None:
            async with database.session() as session:
                await session.execute(text("SELECT 1"))
                proxy.hold_open()
                await session.execute(text(slow_query(database)))

        run = Cancellable(work, how)
        run.start()
        await proxy.holding.wait()
        ending = asyncio.create_task(run.cancel())
        await eventually(lambda: len(proxy.links) > proxy.held and proxy.open() == proxy.held)
        proxy.released.set()
        await ending
        assert checked_out(database) == 0


async def test_idle_handler(database: Database, how: str):
    """A connection that had nothing to do at that moment goes back to the pool alive."""
    closed = closed_connections(database)
    await cancelled(database, "/idle", how, asyncio.Event())
    assert closed == []
    assert await stored(database) == []


@pytest.mark.parametrize("path", ["/write", "/explicit", "/block"])
async def test_commit(database: Database, how: str, path: str):
    """A commit that has begun is finished: the outcome is known."""
    closed = closed_connections(database)
    await cancelled(database, path, how, pause(database, "commit"))
    assert closed == []
    assert await stored(database) == ["written"]


async def test_rollback(database: Database, how: str):
    """So is a rollback, and the connection is as good as new."""
    closed = closed_connections(database)
    with suppress(RuntimeError):
        await cancelled(database, "/fail", how, pause(database, "rollback"))
    assert closed == []
    assert await stored(database) == []


@pytest.mark.parametrize("path", ["/stream", "/background"])
async def test_after_the_handler(database: Database, how: str, path: str):
    """A stream and a background task lose their own work, and nothing of the handler's."""
    await cancelled(database, path, how, asyncio.Event())
    assert await stored(database) == ["written"]


async def test_commit_that_gets_no_end(
    database: Database, how: str, monkeypatch: pytest.MonkeyPatch
):
    """A commit that hangs does not hang a shutdown."""
    shorten(monkeypatch, ending=0.1)
    await cancelled(database, "/write", how, pause(database, "commit", FOREVER))


async def test_rollback_that_gets_no_end(database: Database, monkeypatch: pytest.MonkeyPatch):
    """A rollback has to be over soon even when no task is cancelled."""
    shorten(monkeypatch, ending=0.1)
    pause(database, "rollback", FOREVER)
    with pytest.raises(RollbackTimeout, match="rolls back by itself") as caught:
        async with database.session() as session:
            session.add(Note(text="lost"))
            await session.flush()
            raise RuntimeError
    assert isinstance(caught.value.__context__, TimeoutError)
    error = caught.value
    assert all(isinstance(error, kind) for kind in (TimeoutError, AsyncDBError, DBAPIError))
    assert error.connection_invalidated
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy)) == (RollbackTimeout, str(error))
    assert await stored(database) == []


@pytest.mark.parametrize("where", ["block", "request"])
async def test_rollback_that_ignores_its_cancellation(
    database: Database, where: str, monkeypatch: pytest.MonkeyPatch
):
    """The ten seconds of the documentation, here one, are for all of it, a stubborn driver's end too."""
    shorten(monkeypatch, ending=1.0)
    over = asyncio.Event()

    def hang(*_: object) -> None:
        while not over.is_set():
            with suppress(asyncio.CancelledError):
                await_only(over.wait())

    async def work(session: AsyncSession) -> None:
        await session.execute(text("SELECT 1"))
        raise RuntimeError

    app = FastAPI()

    @app.get("/")
    async def endpoint(db: Annotated[AsyncSession, Depends(database.get_db)]) -> None:
        await work(db)

    event.listen(database.engine.sync_engine, "rollback", hang)
    try:
        with pytest.raises(RollbackTimeout):
            if where == "request":
                await Request(app, "/").run()
            async with database.session() as session:
                await work(session)
    finally:
        over.set()
    await eventually(lambda: checked_out(database) == 0)


async def test_in_memory(how: str):
    """A cut-off query keeps no lock in an in-memory database either."""
    database = Database(DatabaseSettings(url="sqlite://"))
    await database.start(create_tables=Base.metadata)
    await cancelled(database, "/query", how, asyncio.Event())
    async with asyncio.timeout(1), database.session() as session:
        session.add(Note(text="at once"))
    assert await stored(database) == ["at once"]
    assert checked_out(database) == 0
    await database.stop()


@pytest.mark.parametrize("path", ["/query", "/stream"])
async def test_client_that_hangs_up(database: Database, path: str):
    """The client leaves in the middle, over a real socket."""
    reached = asyncio.Event()
    app = app_for(database, reached)
    async with http_server(cancelled_with_its_client(app)) as address:
        async with httpx.AsyncClient(base_url=f"http://{address}") as http:
            request = asyncio.create_task(http.post(path))
            async with asyncio.timeout(5):
                await reached.wait()
                await asyncio.sleep(0.02)
            assert checked_out(database) == 1
            request.cancel()
            await asyncio.wait([request])
        await eventually(lambda: checked_out(database) == 0)
    assert await stored(database) == ([] if path == "/query" else ["written"])


def cancelled_with_its_client(app: FastAPI) -> Any:
    """Cancel a request when its client leaves, as some middlewares and servers do."""

    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        gone = asyncio.Event()
        first = await receive()

        async def replay() -> Any:
            nonlocal first
            if first is not None:
                message, first = first, None
                return message
            await gone.wait()
            return {"type": "http.disconnect"}

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            request.cancel()

        request = asyncio.create_task(app(scope, replay, send))
        watcher = asyncio.create_task(watch())
        await asyncio.wait([request])
        watcher.cancel()

    return wrapped


async def test_sweep(database: Database, witness: Witness, how: str):
    """Cancelled at 120 random moments: what began to commit is stored, the rest is not."""
    dice = random.Random(f"sweep {how}")
    began: set[str] = set()
    acknowledged: set[str] = set()

    async def work(name: str) -> None:
        async with database.session() as session:
            await session.scalars(select(Note).limit(1))
            session.add(Note(text=name))
            await session.flush()
            await session.scalars(select(Note).where(Note.text == name))
            began.add(name)
        acknowledged.add(name)

    started = time.perf_counter()
    await work("first")
    longest = 2 * (time.perf_counter() - started)
    for number in range(120):
        name = str(number)
        run = Cancellable(lambda name=name: work(name), how)  # type: ignore[misc]
        run.start()
        await asyncio.sleep(dice.uniform(0, longest))
        await run.cancel()
        # How long the work takes changes, with the load and with what has to connect anew. So that
        # it is met in every phase, follow it: half of the moments are to lie within.
        longest *= 0.9 if name in began else 1 / 0.9
        if number % 10 == 9:
            await witness.nothing_is_left_behind()
        else:
            assert checked_out(database) == 0
    assert acknowledged <= began
    assert set(await stored(database)) == began
    # Otherwise the moments were badly chosen.
    assert 18 < len(began) < 114
