"""Whatever goes wrong in a sandbox is undone and reported, and disturbs no other session."""

import asyncio
import gc
import sqlite3
import threading
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import Any

import aiosqlite
import asyncpg
import pytest
import sqlalchemy
from asyncpg.exceptions import QueryCanceledError
from sqlalchemy import insert, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError, SAWarning

from fastapi_asyncdb import Database, DatabaseSettings
from fastapi_asyncdb.errors import SandboxError
from fastapi_asyncdb.testing import sandbox
from fastapi_asyncdb.testing.sandbox.connection import SharedConnection
from tests.support.application import Base, Note, Reply, checked_out, stored
from tests.support.cancelling import FOREVER, Cancellable, Witness, slow_query
from tests.support.databases import EVERY_KIND

pytestmark = pytest.mark.databases(*EVERY_KIND)


async def add(database: Database, note: str) -> None:
    """Store a note, as a job does."""
    async with database.session() as session:
        session.add(Note(text=note))


async def terminate(postgres_url: str, pid: int) -> None:
    """End a connection from outside, and let its driver notice."""
    connection = await asyncpg.connect(postgres_url)
    await connection.execute(f"SELECT pg_terminate_backend({pid})")
    await connection.close()
    await asyncio.sleep(0.1)


@pytest.mark.parametrize("session", ["session", "read_session"])
@pytest.mark.parametrize("block", ["succeeds", "raises"])
async def test_query_that_still_runs_at_the_end(
    database: Database,
    database_url: str,
    session: str,
    block: str,
    monkeypatch: pytest.MonkeyPatch,
):
    """It is cut off, and the test is told of it, unless it has an error of its own to tell."""
    running = asyncio.Event()
    execute = SharedConnection.execute

    def note(self: SharedConnection, run: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if statement == slow_query(database):
            running.set()
        execute(self, run, cursor, statement, *rest)

    monkeypatch.setattr(SharedConnection, "execute", note)

    async def forgotten() -> None:
        async with getattr(database, session)() as opened:
            await opened.execute(text("SELECT 1"))
            await opened.execute(text(slow_query(database)))

    tasks: list[asyncio.Task[None]] = []
    error = SandboxError if block == "succeeds" else ZeroDivisionError
    with pytest.raises(error) as raised:
        async with sandbox(database):
            tasks.append(asyncio.create_task(forgotten(), name="mail"))
            await running.wait()
            if block == "raises":
                _ = 1 / 0
    if block == "succeeds":
        query = " ".join(slow_query(database).split()[:2])
        assert f"A query still ran when the sandbox ended: {query}" in str(raised.value)
        assert "in mail (" in str(raised.value)
    with pytest.raises(SandboxError, match="it has ended"):
        await tasks[0]
    if database_url != "sqlite://":
        await Witness(database, database_url).nobody_else_holds_a_lock()


async def test_commit_that_still_runs_at_the_end(postgres_url: str):
    """What the sandbox itself does for a session is cut off like its queries."""
    async with Database(DatabaseSettings(url=postgres_url)) as database:
        async with database.engine.begin() as connection:
            for sql in _SLOW_CHECK:
                await connection.execute(text(sql))

        async def forgotten() -> None:
            async with database.session() as session:
                await session.execute(text("INSERT INTO slow VALUES (1)"))

        tasks: list[asyncio.Task[None]] = []
        with pytest.raises(SandboxError, match="A query still ran"):
            async with sandbox(database):
                tasks.append(asyncio.create_task(forgotten()))
                await asyncio.sleep(0.2)
        with pytest.raises(SandboxError, match="it has ended"):
            await tasks[0]


_SLOW_CHECK = (
    "CREATE TABLE slow (id integer)",
    "CREATE FUNCTION check_slowly() RETURNS trigger LANGUAGE plpgsql AS "
    "'BEGIN PERFORM pg_sleep(60); RETURN NULL; END'",
    "CREATE CONSTRAINT TRIGGER slowly AFTER INSERT ON slow DEFERRABLE INITIALLY DEFERRED "
    "FOR EACH ROW EXECUTE FUNCTION check_slowly()",
)


@pytest.mark.parametrize("block", ["succeeds", "raises"])
async def test_connection_that_is_lost_when_the_test_ends(
    postgres_url: str, driver: str, block: str
):
    """One clear error, which does not take the place of the test's own."""
    url = postgres_url.replace("postgresql://", f"postgresql+{driver}://")
    error = SandboxError if block == "succeeds" else ZeroDivisionError
    async with Database(DatabaseSettings(url=url)) as database:
        with pytest.raises(error, match=r"connection was lost|division"):
            async with sandbox(database) as session:
                pid = await session.scalar(text("SELECT pg_backend_pid()"))
                await terminate(postgres_url, pid)
                if block == "raises":
                    _ = 1 / 0
        async with database.session() as session:
            assert await session.scalar(text("SELECT 1")) == 1


async def test_connection_that_is_lost_in_a_query(postgres_url: str, driver: str):
    """The server's own error comes first, and later sessions are told that it is lost."""
    url = postgres_url.replace("postgresql://", f"postgresql+{driver}://")
    async with Database(DatabaseSettings(url=url)) as database, sandbox(database) as session:
        pid = await session.scalar(text("SELECT pg_backend_pid()"))
        await session.rollback()

        async def work() -> None:
            async with database.session() as opened:
                await opened.execute(text("SELECT pg_sleep(60)"))

        task = asyncio.create_task(work())
        await asyncio.sleep(0.1)
        await terminate(postgres_url, pid)
        with pytest.raises(DBAPIError, match=r"terminating connection|connection was closed"):
            await task
        with pytest.raises(SandboxError, match="its connection was lost"):
            await add(database, "refused")


async def test_session_that_is_left_to_the_garbage_collector(database: Database):
    """Its effects are unknown: the sandbox is over."""
    opened = []

    async def forget() -> None:
        opened.append(database.session())
        session = await opened[0].__aenter__()
        session.add(Note(text="forgotten"))
        await session.flush()

    async with sandbox(database):
        await forget()
        opened.clear()
        with pytest.warns(SAWarning, match="garbage collector"):
            gc.collect()
        with pytest.raises(SandboxError, match="left to the garbage collector"):
            await add(database, "refused")


async def test_drivers_own_work_that_still_runs_at_the_end(postgres_url: str):
    """It cannot be rolled back: the connection is given up, and the next one is as before."""
    database = Database(DatabaseSettings(url=postgres_url))
    await database.start(create_tables=Base.metadata)
    tasks: list[asyncio.Task[None]] = []
    with pytest.raises(SandboxError, match="another operation is in progress"):
        async with sandbox(database) as session:
            raw = await (await session.connection()).get_raw_connection()
            driver: Any = raw.driver_connection
            tasks.append(asyncio.create_task(driver.execute("SELECT pg_sleep(60)")))
            await asyncio.sleep(0.1)
    with pytest.raises(QueryCanceledError):
        await tasks[0]
    await add(database, "afterwards")
    await database.stop()


async def test_reader_that_waits_for_a_query_that_is_cut_off(database: Database):
    """It finds the connection as if the writer had another one."""
    query = slow_query(database)
    async with sandbox(database), database.read_session() as reader:
        await reader.execute(text("SELECT 1"))

        async def write() -> None:
            async with database.session() as session:
                session.add(Note(text="cut off"))
                await session.flush()
                await session.execute(text(query))

        writing = asyncio.create_task(write())
        await asyncio.sleep(0.05)
        reading = asyncio.create_task(reader.scalars(select(Note.text)))
        await asyncio.sleep(0.02)
        writing.cancel()
        assert (await reading).all() == ["before"]
        with pytest.raises(asyncio.CancelledError):
            await writing


async def test_query_that_still_runs_in_a_sandbox_inside_of_another(database: Database):
    """The outer one goes on at once."""
    tasks: list[asyncio.Task[None]] = []

    async def forgotten() -> None:
        async with database.session() as session:
            await session.execute(text(slow_query(database)))

    async with sandbox(database):
        await add(database, "outer")
        with pytest.raises(SandboxError, match="A query still ran"):
            async with sandbox(database):
                await add(database, "inner")
                tasks.append(asyncio.create_task(forgotten()))
                await asyncio.sleep(0.1)
        assert await stored(database) == ["before", "outer"]
        with pytest.raises(SandboxError, match="it has ended"):
            await tasks[0]


async def test_failed_statement_stops_nobody_else(database: Database):
    """PostgreSQL ends the transaction of the session that failed, and of no other."""
    async with sandbox(database) as own:
        with pytest.raises(IntegrityError):
            await own.execute(insert(Note).values(id=1, text="twice"))
        async with database.session() as session, database.read_session() as reader:
            session.add(Note(text="undone"))
            await session.flush()
            async with session.begin_nested():
                session.add(Note(text="undone as well"))
            with pytest.raises(IntegrityError):
                await session.execute(insert(Note).values(id=1, text="twice"))
            assert (await reader.scalars(text("SELECT 1"))).all() == [1]
            await session.rollback()
            session.add(Note(text="kept"))
        assert await stored(database) == ["before", "kept"]


async def test_failed_statement_of_a_session_around_another(postgres_url: str):
    """It undoes what the inner one wrote, which gets an error at its next statement."""
    async with Database(DatabaseSettings(url=postgres_url)) as database:
        async with database.engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        async with sandbox(database):
            with pytest.raises(SandboxError, match="What this session did is gone"):
                async with database.session() as outer, database.session() as inner:
                    outer.add(Note(text="outer"))
                    await outer.flush()
                    inner.add(Note(text="inner"))
                    await inner.flush()
                    with pytest.raises(DBAPIError):
                        await outer.execute(text("SELECT * FROM nowhere"))
                    await inner.execute(insert(Note).values(text="nobody's"))
            assert await stored(database) == []


async def test_failure_inside_of_a_savepoint_undoes_that(database: Database):
    """begin_nested() around what fails keeps what came before it, and what another has done."""
    async with sandbox(database):
        async with database.session() as session:
            session.add(Note(text="kept"))
            await session.flush()
            await add(database, "other's")
            with suppress(IntegrityError):
                async with session.begin_nested():
                    await session.execute(insert(Note).values(id=1, text="twice"))
        assert await stored(database) == ["before", "kept", "other's"]


@pytest.mark.parametrize("how", ["task", "scope"])
async def test_requests_that_are_cut_off_anywhere(database: Database, how: str):
    """Whatever is cancelled is undone, the rest is kept, and the sandbox goes on."""
    done: list[str] = []

    async def work(name: str) -> None:
        async with database.session() as session:
            session.add(Note(text=name))
            await session.flush()
            async with session.begin_nested(), database.read_session() as reader:
                await reader.scalars(select(Note))
        done.append(name)

    async with sandbox(database):
        for number in range(60):
            request = Cancellable(partial(work, str(number)), how)
            request.start()
            await asyncio.sleep(number / 10_000)
            await request.cancel()
        await work("last")
        # A cancellation may come between the end of a commit and our hearing of it.
        assert {"before", *done} <= set(await stored(database))


async def test_streams_beside_a_writer(database: Database):
    """A stream that is read in one task does not meet what another sends."""
    async with sandbox(database):
        async with database.session() as writer, database.read_session() as reader:
            writer.add_all(Note(text=str(number)) for number in range(500))
            await writer.flush()

            async def read() -> int:
                rows = await reader.stream(select(Note).execution_options(yield_per=5))
                return len([row async for row in rows])

            async def write() -> None:
                for _ in range(100):
                    await writer.execute(select(Note).limit(1))

            count, _ = await asyncio.gather(read(), write())
        assert count == 501


async def test_stream_on_the_engine(database: Database):
    """The engine streams as outside."""
    async with (
        sandbox(database),
        database.engine.connect() as connection,
        connection.stream(select(Note.text)) as rows,
    ):
        assert [tuple(row) async for row in rows] == [("before",)]


# --- Ways to commit for good ----------------------------------------------------------------------


@pytest.mark.parametrize("way", ["commit", "rollback"])
async def test_commit_on_the_drivers_connection_is_refused(database: Database, way: str):
    """Its transaction is the sandbox's."""
    async with sandbox(database):
        with pytest.raises(SandboxError, match="on the driver's connection"):
            async with database.session() as session:
                session.add(Note(text="undone"))
                await session.flush()
                await session.run_sync(
                    lambda opened: getattr(opened.connection().connection, way)()
                )
        await add(database, "goes on")


@pytest.mark.parametrize("then", ["nothing", "a session"])
async def test_transaction_that_ends_behind_the_sandboxs_back(database_url: str, then: str):
    """What cannot be undone is reported, at the latest at the end."""
    database = Database(DatabaseSettings(url=database_url))
    await database.start(create_tables=Base.metadata)
    with pytest.raises(SandboxError, match=r"may be stored|on the driver's own connection"):
        async with sandbox(database) as session:
            raw = await (await session.connection()).get_raw_connection()
            driver: Any = raw.driver_connection
            run = driver.query if database.engine.dialect.name == "mysql" else driver.execute
            await run("COMMIT")
            if then == "a session":
                await add(database, "refused")
    assert checked_out(database) == 0
    assert await stored(database) == []
    await database.stop()


@pytest.mark.parametrize("started", ["before", "inside"])
async def test_another_event_loop_is_refused(postgres_url: str, started: str):
    """Starlette's TestClient runs the application on a loop of its own, where it would commit."""
    database = Database(DatabaseSettings(url=postgres_url))
    await database.start(create_tables=Base.metadata)
    may_write, has_started = threading.Event(), threading.Event()

    async def elsewhere() -> None:
        async with database:
            has_started.set()
            await asyncio.to_thread(may_write.wait, 5)
            with pytest.raises(SandboxError, match="of another event loop"):
                await add(database, "for good")

    if started == "before":
        thread = asyncio.create_task(asyncio.to_thread(asyncio.run, elsewhere()))
        await asyncio.to_thread(has_started.wait, 5)
        async with sandbox(database):
            async with sandbox(database):
                pass
            may_write.set()
            await thread
    else:
        async with sandbox(database):
            with pytest.raises(SandboxError, match="in a sandbox on another event loop"):
                await asyncio.to_thread(asyncio.run, elsewhere())
    assert await stored(database) == []
    await database.stop()


async def test_sandbox_that_ends_before_one_inside_of_it(database: Database):
    """The inner one can do nothing more, and the handle is as before in the end."""
    engine = database.engine
    outer, inner = sandbox(database), sandbox(database)
    await outer.__aenter__()
    await inner.__aenter__()
    await outer.__aexit__(None, None, None)
    with pytest.raises(SandboxError, match="the sandbox around it has ended"):
        await add(database, "for good")
    await inner.__aexit__(None, None, None)
    assert database.engine is engine


# --- As in production -----------------------------------------------------------------------------


@pytest.mark.parametrize("inside", ["session", "read_session"])
async def test_function_that_writes_in_a_query(postgres_url: str, inside: str):
    """What it wrote does not go unnoticed when another session's rollback takes it along."""
    async with Database(DatabaseSettings(url=postgres_url)) as database:
        async with database.engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
            await connection.execute(
                text(
                    "CREATE FUNCTION write() RETURNS void LANGUAGE sql "
                    "AS $$ INSERT INTO note (text) VALUES ('by a function') $$"
                )
            )
        async with sandbox(database):
            with pytest.raises(SandboxError, match="undone what another session wrote"):
                async with database.session() as outer:
                    outer.add(Note(text="outer"))
                    await outer.flush()
                    async with getattr(database, inside)() as session:
                        await session.execute(text("SELECT write()"))
                    await outer.rollback()
            async with database.session() as outer:
                outer.add(Note(text="outer"))
                await outer.flush()
                async with getattr(database, inside)() as session:
                    await session.execute(text("SELECT count(*), random() FROM note"))
                await outer.rollback()


async def test_engine_in_autocommit_fails_as_in_production(database: Database):
    """Each statement is a transaction: its constraints are checked, and the next one may run."""
    async with sandbox(database):
        engine = database.engine.execution_options(isolation_level="AUTOCOMMIT")
        async with engine.connect() as connection:
            await connection.execute(insert(Note).values(text="kept"))
            with pytest.raises(IntegrityError):
                await connection.execute(insert(Reply).values(note_id=99))
            with pytest.raises(DBAPIError):
                await connection.execute(text("SELECT * FROM nowhere"))
            await connection.execute(insert(Note).values(text="kept as well"))
        assert await stored(database) == ["before", "kept", "kept as well"]


@pytest.mark.parametrize("sandboxes", [1, 2])
@pytest.mark.parametrize("session", ["session", "read_session"])
async def test_locks_of_a_session_do_not_outlive_it(
    postgres_url: str, driver: str, sandboxes: int, session: str
):
    """A rollback leaves advisory locks, which the next test would wait for."""
    url = postgres_url.replace("postgresql://", f"postgresql+{driver}://")
    async with Database(DatabaseSettings(url=url)) as database:
        async with AsyncExitStack() as stack:
            for _ in range(sandboxes):
                await stack.enter_async_context(sandbox(database))
            async with getattr(database, session)() as opened:
                await opened.execute(text("SELECT pg_advisory_lock(1)"))
        async with Database(DatabaseSettings(url=url)) as other, other.session() as opened:
            assert await opened.scalar(text("SELECT pg_try_advisory_xact_lock(1)"))


async def test_plans_for_tables_that_a_block_of_code_has_changed(postgres_url: str):
    """The text does not begin with ALTER, and the tables are others nevertheless."""
    database = Database(DatabaseSettings(url=postgres_url))
    await database.start(create_tables=Base.metadata)
    alter = "ALTER TABLE note ALTER COLUMN text TYPE varchar(99)"
    for statement in (f"/* a comment */ {alter}", f"DO $$ BEGIN {alter}; END $$"):
        query = text(f"SELECT text AS is_{len(statement)} FROM note")
        async with sandbox(database), database.session() as session:
            await session.execute(text(statement))
            await session.execute(query)
        async with database.session() as session:
            await session.execute(query)
    await database.stop()


async def test_session_that_is_invalidated(database: Database):
    """It gives up its connection, as in production, and with it what it has not committed."""
    async with sandbox(database):
        async with database.session() as session:
            session.add(Note(text="kept"))
            await session.commit()
            session.add(Note(text="undone"))
            await session.flush()
            await session.invalidate()
        assert await stored(database) == ["before", "kept"]


async def test_connections_in_use_are_counted(database: Database):
    """A test for leaks counts the sandbox's sessions, each as a connection."""
    async with sandbox(database):
        assert checked_out(database) == 0
        async with database.session() as outer, database.session() as inner:
            for session in (outer, inner):
                await session.execute(text("SELECT 1"))
            assert checked_out(database) == 2
        assert checked_out(database) == 0


async def test_session_that_was_opened_in_a_turn_that_is_over(database: Database):
    """It waits behind those that have come meanwhile, like any other."""
    order: list[str] = []
    async with sandbox(database):
        may_begin, began, may_end = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def other() -> None:
            await may_begin.wait()
            async with database.session() as session:
                session.add(Note(text="other"))
                await session.flush()
                began.set()
                await may_end.wait()
                order.append("other")

        task = asyncio.create_task(other())
        async with database.session() as outer:
            outer.add(Note(text="outer"))
            await outer.flush()
            async with database.session() as inner:
                await outer.commit()
                may_begin.set()
                await began.wait()
                asyncio.get_running_loop().call_later(0.05, may_end.set)
                await inner.scalars(select(Note))
                order.append("inner")
        await task
    assert order == ["other", "inner"]


async def test_setting_of_a_reader_ends_with_its_statement(postgres_url: str):
    """Its statement is a transaction of its own, and a writer finds nothing of it."""
    show = text("SELECT coalesce(current_setting('app.tenant', true), '')")
    async with (
        Database(DatabaseSettings(url=postgres_url)) as database,
        sandbox(database),
        database.read_session() as reader,
        database.session() as writer,
    ):
        await reader.execute(text("SELECT set_config('app.tenant', 'a', true)"))
        assert await writer.scalar(show) == ""


@pytest.mark.skipif(
    sqlalchemy.__version__.startswith("2.0."),
    reason="SQLAlchemy 2.0 keeps no reference to a cursor whose rows it is fetching",
)
@pytest.mark.databases("sqlite", "sqlite-memory")
@pytest.mark.parametrize("session", ["session", "read_session"])
async def test_cursor_of_a_cancelled_query_is_closed(
    database: Database, monkeypatch: pytest.MonkeyPatch, session: str
):
    """Or the garbage collector resets it, in a thread that must not wait for the next query."""
    reached = asyncio.Event()
    cursors: list[aiosqlite.Cursor] = []

    async def hang(self: aiosqlite.Cursor) -> Any:
        cursors.append(self)
        reached.set()
        await asyncio.sleep(FOREVER)

    async def work() -> None:
        async with getattr(database, session)() as opened:
            await opened.execute(text("VALUES (1), (2)"))

    async with sandbox(database):
        with monkeypatch.context() as patched:
            patched.setattr(aiosqlite.Cursor, "fetchall", hang)
            task = asyncio.create_task(work())
            await reached.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert len(cursors) == 1
        with pytest.raises(sqlite3.ProgrammingError, match="closed cursor"):
            await cursors[0].fetchone()
        await add(database, "afterwards")
