"""A stop refuses new sessions, lets open ones end, and cancels those that do not."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Annotated, Any

import anyio
import pytest
from fastapi import Depends, FastAPI, HTTPException, WebSocket
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from fastapi_asyncdb import Database, DatabaseSettings, on_commit
from fastapi_asyncdb.errors import DatabaseNotStarted, DatabaseStopping
from fastapi_asyncdb.testing import sandbox
from tests.support.application import Base, Note, client, eventually
from tests.support.cancelling import FOREVER, slow_query
from tests.support.http_server import http_server

pytestmark = pytest.mark.promise("T24")

SOON = 0.2
"""Seconds for what is cancelled in the end."""


@asynccontextmanager
async def notes(url: str, shutdown_timeout: float = FOREVER) -> AsyncIterator[Database]:
    """Start a database with the table of notes; the test stops it."""
    database = Database(DatabaseSettings(url=url, shutdown_timeout=shutdown_timeout))
    await database.start(create_tables=Base.metadata)
    try:
        yield database
    finally:
        await database.stop()
    assert repr(database) == "<Database not started>"


async def count(url: str) -> int:
    """Count the notes that are stored."""
    async with Database(DatabaseSettings(url=url)) as database, database.read_session() as session:
        return await session.scalar(select(func.count()).select_from(Note)) or 0


class Job:
    """Work in a session of its own, in a task of its own, that waits in the middle."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.began, self.may_end = asyncio.Event(), asyncio.Event()
        self.task = asyncio.create_task(self.run())

    async def run(self) -> None:
        async with self._database.session() as self.session:
            session = self.session
            session.add(Note(text="of a job"))
            await session.flush()
            self.began.set()
            await self.may_end.wait()


async def stopping(database: Database) -> asyncio.Task[None]:
    """Begin a stop, which waits."""
    task = asyncio.create_task(database.stop())

    async def is_refused() -> bool:
        try:
            async with database.session():
                return False
        except DatabaseStopping:
            return True

    async with asyncio.timeout(5):
        while not await is_refused():
            await asyncio.sleep(0)
    return task


async def stopping_beside_a_job(database: Database) -> tuple[Job, asyncio.Task[None]]:
    """Begin a stop, which waits for a job."""
    job = Job(database)
    await job.began.wait()
    return job, await stopping(database)


async def test_open_session_ends_its_work(database_url: str):
    """A job that is in the middle commits, and only then are the connections closed."""
    async with notes(database_url) as database:
        job, stop = await stopping_beside_a_job(database)
        job.may_end.set()
        await job.task
        await stop
    assert await count(database_url) == 1


async def test_session_that_does_not_end_is_cancelled(
    database_url: str, caplog: pytest.LogCaptureFixture
):
    """After shutdown_timeout the task is cancelled, its transaction rolled back, and it is named."""
    async with notes(database_url, SOON) as database:
        job = Job(database)
        await job.began.wait()
        with caplog.at_level(logging.INFO, "fastapi_asyncdb.engine.running_sessions"):
            await database.stop()
        assert job.task.cancelled()
    assert await count(database_url) == 0
    waits, cancels = (record.getMessage() for record in caplog.records)
    assert "waits at most 0.2 s for sessions to end: Task-" in waits
    assert "(Job.run)" in cancels
    assert "DATABASE_SHUTDOWN_TIMEOUT" in cancels


async def test_query_that_does_not_end_is_cancelled(database_url: str):
    """Its connection is closed, and the server works on it no longer."""
    async with notes(database_url, SOON) as database:

        async def work() -> None:
            async with database.session() as session:
                session.add(Note(text="before"))
                await session.execute(text(slow_query(database)))

        task = asyncio.create_task(work())
        await eventually(lambda: database.engine.pool.checkedout() == 1)  # type: ignore[attr-defined]
        await database.stop()
        assert task.cancelled()
    assert await count(database_url) == 0


async def test_session_without_a_transaction_counts(database_url: str):
    """A job between two transactions has no connection, and may still write."""
    began, may_end = asyncio.Event(), asyncio.Event()
    async with notes(database_url) as database:

        async def work() -> None:
            async with database.session() as session:
                await session.execute(text("SELECT 1"))
                await session.commit()
                began.set()
                await may_end.wait()
                session.add(Note(text="second"))

        task = asyncio.create_task(work())
        await began.wait()
        stop = await stopping(database)
        may_end.set()
        await task
        await stop
    assert await count(database_url) == 1


async def test_task_with_a_session_may_open_another(database_url: str):
    """It may need it to end its work; a task of its own is refused."""
    async with notes(database_url) as database:
        job = Job(database)
        await job.began.wait()
        began, may_go_on = asyncio.Event(), asyncio.Event()

        async def work() -> Any:
            async with database.read_session():
                began.set()
                await may_go_on.wait()
                async with database.read_session() as second:
                    return await second.scalar(text("SELECT 42"))

        nested = asyncio.create_task(work())
        await began.wait()
        stop = await stopping(database)
        may_go_on.set()
        assert await nested == 42
        with pytest.raises(DatabaseStopping, match="opens no new session"):
            await database.ping()
        job.may_end.set()
        await stop
        with pytest.raises(DatabaseNotStarted):
            await database.ping()


async def test_hook_may_open_a_session(database_url: str):
    """The transaction is committed, and its hooks run, during a stop as at any other time."""
    async with notes(database_url) as database:
        job = Job(database)
        await job.began.wait()

        async def hook() -> None:
            async with database.session() as session:
                session.add(Note(text="of a hook"))

        on_commit(job.session, hook)
        stop = await stopping(database)
        job.may_end.set()
        await asyncio.gather(job.task, stop)
    assert await count(database_url) == 2


async def test_task_with_a_session_may_gather(database_url: str):
    """Each read has a task of its own, which the task of the session waits for."""

    async def read(session: AsyncSession) -> int:
        return await session.scalar(select(func.count()).select_from(Note)) or 0

    async def work(database: Database) -> tuple[int, int]:
        async with database.session():
            began.set()
            await may_end.wait()
            return await database.gather(read, read)

    began, may_end = asyncio.Event(), asyncio.Event()
    async with notes(database_url) as database:
        task = asyncio.create_task(work(database))
        await began.wait()
        stop = await stopping(database)
        may_end.set()
        assert await task == (0, 0)
        await stop


async def test_stop_inside_of_a_session_does_not_wait_for_it(database_url: str):
    """The task that stops cannot end its own session meanwhile."""
    async with notes(database_url) as database, database.session() as session:
        session.add(Note(text="before"))
        await session.flush()
        async with asyncio.timeout(10):
            await database.stop()
        session.add(Note(text="after"))
    assert await count(database_url) == 2


async def test_stop_that_is_not_the_last_waits_for_nothing(database_url: str):
    """Another application uses the database further, and its sessions."""
    async with notes(database_url) as database:
        await database.start()
        job = Job(database)
        await job.began.wait()
        await database.stop()
        async with database.read_session() as session:
            assert await session.scalar(text("SELECT 1")) == 1
        job.may_end.set()
        await job.task


async def test_start_during_a_stop_waits_for_its_end(database_url: str):
    """Then the database starts again, with new connections."""
    async with notes(database_url) as database:
        job, stop = await stopping_beside_a_job(database)
        start = asyncio.create_task(database.start())
        job.may_end.set()
        await stop
        await start
        async with database.session() as session:
            assert await session.scalar(select(func.count()).select_from(Note)) == 1


@pytest.mark.parametrize("how", ["task", "scope"])
async def test_stop_that_is_cancelled_does_not_wait(database_url: str, how: str):
    """It cancels the sessions at once, and still closes every connection."""
    async with notes(database_url) as database:
        job = Job(database)
        await job.began.wait()
        if how == "scope":
            with anyio.move_on_after(SOON):
                await database.stop()
        else:
            stop = await stopping(database)
            stop.cancel()
            with suppress(asyncio.CancelledError):
                await stop
        assert job.task.cancelled()
        assert repr(database) == "<Database not started>"
    assert await count(database_url) == 0


async def test_abandoned_session_is_not_waited_for(database_url: str):
    """Its task is done, and nothing will end it."""
    async with notes(database_url) as database:

        async def abandon() -> AbstractAsyncContextManager[AsyncSession]:
            block = database.session()
            await block.__aenter__()
            return block

        block = await asyncio.create_task(abandon())
        async with asyncio.timeout(10):
            await database.stop()
        await block.__aexit__(None, None, None)


async def test_sandbox_waits_for_no_session_of_its_own(database_url: str):
    """The application's stop in a test does not end the run: the next request is served."""
    async with notes(database_url) as database, sandbox(database) as session:
        await database.start()
        await database.stop()
        async with database.session() as other:
            assert await other.scalar(text("SELECT 1")) == 1
        assert await session.scalar(text("SELECT 1")) == 1


def writing_app(database: Database) -> FastAPI:
    """One route that writes, one without SQL, one socket."""
    app = FastAPI()
    DB = Annotated[AsyncSession, Depends(database.get_db)]

    @app.post("/notes", status_code=201)
    async def create(db: DB) -> None:
        db.add(Note(text="of a request"))

    @app.get("/")
    async def root(db: DB) -> int:
        return 42

    @app.websocket("/socket")
    async def socket(websocket: WebSocket, db: DB) -> None:
        await websocket.accept()
        await websocket.receive_text()
        await db.execute(text("SELECT 1"))

    return app


async def test_new_request_is_answered_with_503(database_url: str):
    """It may be sent again; a request that runs no SQL is served."""
    async with notes(database_url) as database:
        job, stop = await stopping_beside_a_job(database)
        async with client(writing_app(database)) as http:
            refused = await http.post("/notes")
            assert (refused.status_code, (await http.get("/")).json()) == (503, 42)
        assert refused.json() == {"detail": "The service is restarting. Please try again later."}
        job.may_end.set()
        await stop
    assert await count(database_url) == 1


async def test_handler_for_the_error_decides(database_url: str):
    """The error is DatabaseStopping, DatabaseNotStarted and HTTPException."""
    caught: list[Any] = []
    async with notes(database_url) as database:
        job, stop = await stopping_beside_a_job(database)
        app = writing_app(database)

        @app.exception_handler(DatabaseStopping)
        async def answer(request: object, error: DatabaseStopping) -> None:
            caught.append(error)
            raise HTTPException(500)

        async with client(app) as http:
            await http.post("/notes")
        job.may_end.set()
        await stop
    assert isinstance(caught[0], DatabaseNotStarted | HTTPException)


async def test_new_use_by_a_socket_closes_it(database_url: str):
    """With 1013: try again later."""
    async with notes(database_url) as database, http_server(writing_app(database)) as address:
        job, stop = await stopping_beside_a_job(database)
        async with connect(f"ws://{address}/socket") as socket:
            await socket.send("go on")
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
        job.may_end.set()
        await stop
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1013
