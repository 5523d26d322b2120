"""Hooks run after the outermost commit or rollback, in order, and fail alone."""

import asyncio
import contextlib
import logging
import re
import time
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

import anyio
import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException
from fastapi.responses import StreamingResponse
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from fastapi_asyncdb import Database, DatabaseSettings, on_commit, on_rollback
from fastapi_asyncdb.errors import SessionClosed
from tests.support.application import Base, Note, Reply, Request, checked_out, client, stored
from tests.support.cancelling import Cancellable
from tests.support.grace import shorten

pytestmark = pytest.mark.promise("T14")


class Journal(list[Any]):
    """Hooks that write down that they ran."""

    def sync(self, entry: object) -> None:
        self.append(entry)

    async def later(self, entry: object) -> None:
        await asyncio.sleep(0)
        self.append(entry)

    def both(self, session: AsyncSession | Session, name: str) -> None:
        """Register a pair, of which one runs."""
        on_commit(session, self.later, f"{name} committed")
        on_rollback(session, self.sync, f"{name} rolled back")


@pytest.fixture
def journal() -> Journal:
    """An empty journal."""
    return Journal()


async def commit(session: AsyncSession) -> None:
    """Commit as most do."""
    session.add(Note(text="written"))
    await session.commit()


async def commit_in_begin(session: AsyncSession) -> None:
    """Commit at the end of a begin() block."""
    async with session.begin():
        session.add(Note(text="written"))


async def commit_the_transaction(session: AsyncSession) -> None:
    """Commit the transaction that begin() returns."""
    transaction = await session.begin()
    session.add(Note(text="written"))
    await transaction.commit()


def _sync_commit(session: Session) -> None:
    session.add(Note(text="written"))
    session.commit()


async def commit_in_run_sync(session: AsyncSession) -> None:
    """Commit in synchronous code."""
    await session.run_sync(_sync_commit)


def _sync_begin(session: Session) -> None:
    with session.begin():
        session.add(Note(text="written"))


async def commit_in_sync_begin(session: AsyncSession) -> None:
    """Commit at the end of a synchronous begin() block."""
    await session.run_sync(_sync_begin)


COMMITS = [
    commit,
    commit_in_begin,
    commit_the_transaction,
    commit_in_run_sync,
    commit_in_sync_begin,
]


async def test_hooks_run_in_order_after_the_commit(database: Database, journal: Journal):
    """Plain functions and coroutine functions alternate as they were registered."""

    async def look() -> None:
        journal.append(await stored(database))

    async with database.session() as session:
        on_commit(session, journal.sync, 1)
        session.add(Note(text="written"))
        on_commit(session, journal.later, 2)
        await session.flush()
        on_commit(session, look)
        on_commit(session, journal.sync, entry=3)
        on_rollback(session, journal.sync, "rolled back")
        assert journal == []
    assert journal == [1, 2, ["written"], 3]


@pytest.mark.parametrize("how", COMMITS, ids=lambda how: how.__name__)
async def test_every_explicit_commit_runs_them_once(
    database: Database, journal: Journal, how: Callable[[AsyncSession], Any]
):
    """They have run when it returns, and do not run again at the end."""
    async with database.session() as session:
        on_commit(session, journal.later, "hook")
        on_rollback(session, journal.later, "rolled back")
        await how(session)
        assert journal == ["hook"]
        assert await stored(database) == ["written"]
        session.add(Note(text="more"))
    assert journal == ["hook"]


async def rollback(session: AsyncSession) -> None:
    """Roll back as most do."""
    session.add(Note(text="written"))
    await session.flush()
    await session.rollback()


async def rollback_the_transaction(session: AsyncSession) -> None:
    """Roll back the transaction that begin() returns."""
    transaction = await session.begin()
    session.add(Note(text="written"))
    await transaction.rollback()


async def raise_in_begin(session: AsyncSession) -> None:
    """Leave a begin() block with an exception."""
    with contextlib.suppress(RuntimeError):
        async with session.begin():
            session.add(Note(text="written"))
            raise RuntimeError


async def rollback_in_run_sync(session: AsyncSession) -> None:
    """Roll back in synchronous code, without a transaction."""
    await session.run_sync(lambda sync_session: sync_session.rollback())


async def close(session: AsyncSession) -> None:
    """Close the session, which rolls back."""
    session.add(Note(text="written"))
    await session.flush()
    await session.close()


ROLLBACKS = [rollback, rollback_the_transaction, raise_in_begin, rollback_in_run_sync, close]


@pytest.mark.parametrize("how", ROLLBACKS, ids=lambda how: how.__name__)
async def test_rollback_drops_one_kind_and_runs_the_other(
    database: Database, journal: Journal, how: Callable[[AsyncSession], Any]
):
    """An explicit rollback undoes what was registered, with a transaction or without."""
    async with database.session() as session:
        journal.both(session, "first")
        await how(session)
        assert journal == ["first rolled back"]
        journal.both(session, "second")
        session.add(Note(text="second"))
    assert journal == ["first rolled back", "second committed"]
    assert await stored(database) == ["second"]


@pytest.mark.parametrize("sql", [True, False])
async def test_exception_in_the_block_rolls_back(database: Database, journal: Journal, sql: bool):
    """The block's exception comes out, the on_rollback hooks have run."""
    with pytest.raises(ZeroDivisionError):
        async with database.session() as session:
            journal.both(session, "block")
            if sql:
                session.add(Note(text="lost"))
                await session.flush()
            raise ZeroDivisionError
    assert journal == ["block rolled back"]


@pytest.mark.parametrize("row", [Reply(note_id=404), Note(id=None, text=None)])
async def test_commit_that_fails_counts_as_rollback(
    database: Database, journal: Journal, row: Reply | Note
):
    """Whether its flush failed or COMMIT itself did."""
    with pytest.raises(IntegrityError):
        async with database.session() as session:
            journal.both(session, "block")
            session.add(type(row)(**{k: v for k, v in vars(row).items() if k[0] != "_"}))
    assert journal == ["block rolled back"]


async def test_rolled_back_savepoint_takes_its_hooks_with_it(database: Database, journal: Journal):
    """Its on_commit hooks are dropped; its on_rollback hooks wait for the connection."""
    async with database.session() as session:
        journal.both(session, "outer")
        with pytest.raises(ZeroDivisionError):
            async with session.begin_nested():
                journal.both(session, "savepoint")
                async with session.begin_nested():
                    journal.both(session, "released inside")
                raise ZeroDivisionError
        assert journal == []
        journal.both(session, "after")
    assert journal == [
        "outer committed",
        "savepoint rolled back",
        "released inside rolled back",
        "after committed",
    ]


async def test_released_savepoint_hands_its_hooks_on(database: Database, journal: Journal):
    """What encloses it decides: the savepoint around it, and at last the transaction."""
    async with database.session() as session:
        async with session.begin_nested():
            async with session.begin_nested():
                journal.both(session, "inner")
            with pytest.raises(ZeroDivisionError):
                async with session.begin_nested():
                    journal.both(session, "failed")
                    raise ZeroDivisionError
        assert journal == []
    assert journal == ["inner committed", "failed rolled back"]


async def test_commit_with_open_savepoints_runs_all(database: Database, journal: Journal):
    """An explicit commit releases what is open."""
    async with database.session() as session:
        journal.both(session, "outer")
        await session.begin_nested()
        journal.both(session, "open")
        session.add(Note(text="written"))
        await session.commit()
        assert journal == ["outer committed", "open committed"]
    assert await stored(database) == ["written"]


async def test_rollback_with_open_savepoints_runs_each_once(database: Database, journal: Journal):
    """Savepoint and transaction go together."""
    async with database.session() as session:
        journal.both(session, "outer")
        await session.begin_nested()
        journal.both(session, "open")
        await session.rollback()
        assert journal == ["outer rolled back", "open rolled back"]


async def test_failed_flush_in_a_savepoint_drops_its_hooks(database: Database, journal: Journal):
    """A row that is refused takes the savepoint along, not the transaction."""
    async with database.session() as session:
        session.add(Note(id=1, text="kept"))
        await session.flush()
        with pytest.raises(IntegrityError):
            async with session.begin_nested():
                journal.both(session, "twice")
                await session.execute(text("INSERT INTO note VALUES (1, 'twice')"))
    assert journal == ["twice rolled back"]
    assert await stored(database) == ["kept"]


@pytest.mark.parametrize("hook", ["sync", "later"])
async def test_failing_hook_is_logged_and_stops_nothing(
    database: Database, journal: Journal, caplog: pytest.LogCaptureFixture, hook: str
):
    """The log has its name and traceback; the work is committed, the other hooks run."""

    def broken() -> None:
        raise ZeroDivisionError("bug in a hook")

    async def broken_later() -> None:
        await asyncio.sleep(0)
        raise ZeroDivisionError("bug in a hook")

    async with database.session() as session:
        session.add(Note(text="written"))
        on_commit(session, broken if hook == "sync" else broken_later)
        on_commit(session, journal.sync, "next")
    assert journal == ["next"]
    assert await stored(database) == ["written"]
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("fastapi_asyncdb.session.hooks", logging.ERROR)
    assert "on_commit hook" in record.getMessage()
    assert "broken" in record.getMessage()
    assert "bug in a hook" in caplog.text
    assert "Traceback" in caplog.text


async def test_hook_that_is_cancelled_from_inside_stops_nothing(
    database: Database, journal: Journal, caplog: pytest.LogCaptureFixture
):
    """Awaiting a cancelled task is the hook's own failure."""

    async def cancelled() -> None:
        task = asyncio.ensure_future(asyncio.sleep(60))
        task.cancel()
        await task

    async with database.session() as session:
        on_commit(session, cancelled)
        on_commit(session, journal.sync, "next")
    assert journal == ["next"]
    assert "was cancelled from inside" in caplog.text


async def test_hook_has_a_connection_to_itself(database_url: str, journal: Journal):
    """With a single connection, the transaction's is back before the hook asks for one."""
    database = Database(
        DatabaseSettings(url=database_url, pool_size=1, max_overflow=0, pool_timeout=1)
    )
    await database.start(create_tables=Base.metadata)

    async def write(entry: str) -> None:
        async with database.session() as session:
            on_commit(session, journal.sync, f"{entry} in the hook")
            session.add(Note(text=entry))

    async with database:
        async with database.session() as session:
            on_commit(session, write, "at the end")
            on_commit(session, write, "second")
            session.add(Note(text="first"))
        async with database.session() as session:
            on_commit(session, write, "explicit")
            session.add(Note(text="third"))
            await session.commit()
        with pytest.raises(ZeroDivisionError):
            async with database.session() as session:
                on_rollback(session, write, "after rollback")
                session.add(Note(text="lost"))
                await session.flush()
                raise ZeroDivisionError
        assert await stored(database) == [
            *("first", "at the end", "second"),
            *("third", "explicit", "after rollback"),
        ]
        assert checked_out(database) == 0
    assert len(journal) == 4
    await database.stop()


async def test_hook_may_not_use_the_session_it_was_registered_on(
    database: Database, caplog: pytest.LogCaptureFixture
):
    """Its write would be acknowledged before it is committed."""
    async with database.session() as session:

        async def write() -> None:
            session.add(Note(text="too late"))

        async def read() -> None:
            await session.scalar(text("SELECT 1"))

        on_commit(session, write)
        on_commit(session, lambda: asyncio.create_task(read()))
        on_commit(session, read)
        await commit(session)
        assert caplog.text.count("SessionError: A hook used the session") == 3
        assert await session.scalar(text("SELECT 42")) == 42
    assert await stored(database) == ["written"]


async def test_hook_may_register_further_hooks(database: Database, journal: Journal):
    """They run after the others: there is no transaction to wait for."""

    def chain(session: AsyncSession, left: int) -> None:
        journal.append(left)
        if left:
            on_commit(session, chain, session, left - 1)

    async with database.session() as session:
        session.add(Note(text="written"))
        on_commit(session, chain, session, 5)
        on_commit(session, journal.sync, "first")
    assert journal == [5, "first", 4, 3, 2, 1, 0]


async def test_hook_may_wait_for_a_task_that_ends_the_session(database: Database):
    """The commit is over for all other tasks when hooks run, so none waits for it."""

    async def hook(session: AsyncSession) -> None:
        await asyncio.create_task(session.rollback())

    async with database.session() as session:
        session.add(Note(text="written"))
        on_commit(session, hook, session)
    assert await stored(database) == ["written"]


async def test_session_without_a_transaction_runs_them_at_its_end(
    database: Database, journal: Journal
):
    """A block that ends well is a success, also if it ran no SQL; no connection is used."""
    async with database.session() as session:
        journal.both(session, "idle")
        assert journal == []
    assert journal == ["idle committed"]


async def test_reading_session_runs_them_at_its_end(database: Database, journal: Journal):
    """Code that is given a reading session need not know."""
    async with database.read_session() as session:
        journal.both(session, "reader")
        await session.scalar(text("SELECT 1"))
        assert journal == []
    assert journal == ["reader committed"]


async def test_run_sync_registers_on_the_plain_session(database: Database, journal: Journal):
    """Synchronous code holds the same session in another coat."""
    async with database.session() as session:
        await session.run_sync(lambda sync_session: journal.both(sync_session, "sync"))
        session.add(Note(text="written"))
    assert journal == ["sync committed"]


@pytest.mark.parametrize("register", [on_commit, on_rollback])
async def test_mistakes_are_refused_at_once(database: Database, register: Any):
    """What is no function, no session of ours, or an ended session."""
    async with database.session() as session:
        with pytest.raises(TypeError, match="A hook is a function"):
            register(session, "send")
    with pytest.raises(SessionClosed):
        register(session, print)
    async with AsyncSession(database.engine) as foreign:
        with pytest.raises(TypeError, match="runs no hooks"):
            register(foreign, print)


def hooked_app(database: Database, journal: Journal) -> FastAPI:
    """An application whose handlers register hooks and end in different ways."""
    DB = Annotated[AsyncSession, Depends(database.get_db)]
    app = FastAPI()

    @app.post("/sql")
    async def with_sql(db: DB) -> None:
        journal.both(db, "handler")
        db.add(Note(text="written"))

    @app.post("/idle")
    async def without_sql(db: DB) -> None:
        journal.both(db, "handler")

    @app.post("/refused")
    async def refused(db: DB) -> None:
        journal.both(db, "handler")
        raise HTTPException(409)

    @app.post("/failing-commit")
    async def failing_commit(db: DB) -> None:
        journal.both(db, "handler")
        db.add(Reply(note_id=404))

    @app.post("/background")
    async def background(db: DB, tasks: BackgroundTasks) -> None:
        async def later() -> None:
            db.add(Note(text="later"))
            journal.both(db, "background")

        db.add(Note(text="written"))
        on_commit(db, tasks.add_task, later)
        journal.both(db, "handler")

    @app.post("/stream")
    async def stream(db: DB) -> StreamingResponse:
        async def chunks() -> AsyncIterator[str]:
            db.add(Note(text="streamed"))
            journal.both(db, "stream")
            yield "chunk"

        journal.both(db, "handler")
        db.add(Note(text="written"))
        return StreamingResponse(chunks())

    return app


@pytest.mark.parametrize(
    ("path", "entries"),
    [
        ("/sql", ["handler committed", 200]),
        ("/idle", ["handler committed", 200]),
        ("/refused", ["handler rolled back", 409]),
        ("/failing-commit", ["handler rolled back", 500]),
        ("/background", ["handler committed", 200, "background committed"]),
        ("/stream", ["handler committed", 200, "stream committed"]),
    ],
)
async def test_handlers_hooks_run_before_the_response(
    database: Database, journal: Journal, path: str, entries: list[object]
):
    """Those of a stream or a background task run at request end."""

    async def note_status(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            journal.append(message["status"])

    request = Request(hooked_app(database, journal), path, "POST", on_send=note_status)
    with contextlib.suppress(IntegrityError):
        await request.run()
    assert journal == entries


async def test_failing_hook_leaves_the_response_alone(database: Database):
    """The client gets its answer, since the work is committed."""
    app = FastAPI()

    def broken() -> None:
        raise HTTPException(500)

    @app.post("/", status_code=201)
    async def endpoint(db: Annotated[AsyncSession, Depends(database.get_db)]) -> None:
        db.add(Note(text="written"))
        on_commit(db, broken)

    async with client(app) as http:
        assert (await http.post("/")).status_code == 201
    assert await stored(database) == ["written"]


@pytest.mark.parametrize("scope", ["asyncio", "anyio"])
@pytest.mark.parametrize("explicit", [True, False])
async def test_cancellation_waits_for_the_hooks(
    database: Database, journal: Journal, scope: str, explicit: bool
):
    """Committed work has its hooks, although the client leaves; then the cancellation goes on."""
    running = asyncio.Event()

    async def slow() -> None:
        async with database.session() as session:
            session.add(Note(text="hook"))
            await session.flush()
            running.set()
            await asyncio.sleep(0.05)

    async def job() -> None:
        async with database.session() as session:
            on_commit(session, slow)
            on_commit(session, journal.sync, "next")
            session.add(Note(text="job"))
            if explicit:
                await session.commit()
                await asyncio.sleep(60)

    if scope == "asyncio":
        task = asyncio.create_task(job())
        await running.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        async with anyio.create_task_group() as group:
            group.start_soon(job)
            await running.wait()
            group.cancel_scope.cancel()
    assert journal == ["next"]
    assert sorted(await stored(database)) == ["hook", "job"]
    assert checked_out(database) == 0


@pytest.mark.parametrize("how", ["task", "scope"])
async def test_hook_that_never_ends_is_cut_off_once_its_caller_is_cancelled(
    database: Database,
    journal: Journal,
    how: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    """A client that is gone, or a shutdown, waits no longer than for a commit; the log has names."""
    shorten(monkeypatch, ending=0.2)
    running = asyncio.Event()

    async def hang() -> None:
        running.set()
        await asyncio.Event().wait()

    async def job() -> None:
        async with database.session() as session:
            on_commit(session, hang)
            on_commit(session, journal.sync, "next")
            session.add(Note(text="job"))

    run = Cancellable(job, how)
    run.start()
    await running.wait()
    started = time.monotonic()
    await run.cancel()
    assert time.monotonic() - started >= 0.2
    assert journal == []
    (message,) = [
        r.getMessage() for r in caplog.records if r.name == "fastapi_asyncdb.session.hooks"
    ]
    assert re.match(
        r"The on_commit hook .*hang was cut off.*: on_commit hook Journal.sync$", message
    )
    assert await stored(database) == ["job"]
    assert checked_out(database) == 0


async def test_hook_may_take_its_time_while_somebody_waits(
    database: Database, journal: Journal, monkeypatch: pytest.MonkeyPatch
):
    """The bound is for hooks that no task waits for."""
    shorten(monkeypatch, ending=0.05)

    async def slow() -> None:
        await asyncio.sleep(0.3)
        journal.append("slow")

    async with database.session() as session:
        on_commit(session, slow)
        session.add(Note(text="job"))
    assert journal == ["slow"]


async def lose_connection(database: Database, session: AsyncSession) -> None:
    """End the session's backend, from another connection."""
    pid = await session.scalar(text("SELECT pg_backend_pid()"))
    async with database.session() as other:
        await other.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})


@pytest.mark.parametrize("how", ["commit", "begin", "end"])
async def test_unknown_outcome_runs_neither_kind(
    postgres_url: str, journal: Journal, caplog: pytest.LogCaptureFixture, how: str
):
    """A connection that is lost at COMMIT proves nothing; the log names the hooks."""
    async with Database(DatabaseSettings(url=postgres_url)) as database:
        with pytest.raises(DBAPIError):
            async with database.session() as session:
                if how == "begin":
                    async with session.begin():
                        journal.both(session, "doubtful")
                        await lose_connection(database, session)
                journal.both(session, "doubtful")
                await lose_connection(database, session)
                if how == "commit":
                    await session.commit()
    assert journal == []
    assert "so these were not run: on_" in caplog.text


@pytest.mark.parametrize("how", ["rollback", "statement", "flush", "exception"])
async def test_connection_lost_before_commit_counts_as_rollback(
    postgres_url: str, journal: Journal, how: str
):
    """Without a COMMIT there is no doubt: the server has rolled back."""
    async with Database(DatabaseSettings(url=postgres_url)) as database:
        with contextlib.suppress(DBAPIError, ZeroDivisionError):
            async with database.session() as session:
                journal.both(session, "lost")
                await lose_connection(database, session)
                if how == "rollback":
                    await session.rollback()
                elif how == "flush":
                    session.add(Note(text="lost"))
                    await session.commit()
                elif how == "statement":
                    await session.execute(text("SELECT 1"))
                else:
                    raise ZeroDivisionError
    assert journal == ["lost rolled back"]


@pytest.mark.promise("T6")
async def test_cut_stream_that_ran_no_sql_counts_as_rollback(database: Database, journal: Journal):
    """Nothing was to be committed, but the response never reached its end."""
    app = FastAPI()

    @app.post("/")
    async def endpoint(
        db: Annotated[AsyncSession, Depends(database.get_db)],
    ) -> StreamingResponse:
        async def body() -> AsyncIterator[str]:
            journal.both(db, "streamed")
            yield "first"
            await asyncio.sleep(60)

        return StreamingResponse(body())

    request = Request(app, "/", "POST")

    async def leave(message: dict[str, Any]) -> None:
        if message.get("body"):
            request.left.set()

    request.on_send = leave
    await request.run()
    assert journal == ["streamed rolled back"]
