"""In a sandbox everything happens as in production, and nothing stays."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import pytest
from asyncpg.exceptions import InternalClientError
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException
from fastapi.responses import StreamingResponse
from sqlalchemy import func, insert, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import Database, DatabaseSettings, create_lifespan, on_commit, on_rollback
from fastapi_asyncdb.engine.seam import runs_of
from fastapi_asyncdb.errors import (
    ConfigurationError,
    DatabaseNotStarted,
    PoolTimeout,
    ReadOnlySession,
    SandboxError,
    TransactionAborted,
)
from fastapi_asyncdb.testing import count_queries, sandbox
from tests.support.application import Base, Counter, Note, Reply, client, running, stored
from tests.support.cancelling import Cancellable, pause, slow_query
from tests.support.databases import EVERY_KIND, TRANSACTIONAL_DDL

pytestmark = pytest.mark.databases(*EVERY_KIND)


async def add(database: Database, note: str) -> None:
    """Store a note, as a job does."""
    async with database.session() as session:
        session.add(Note(text=note))


# --- The classical mistakes -----------------------------------------------------------------------


async def test_application_commits_twice(database: Database):
    """The application's commit ends its own transaction, and not the test's."""
    app = FastAPI()

    @app.post("/")
    async def commit_twice(db: Annotated[AsyncSession, Depends(database.get_db)]) -> None:
        db.add(Note(text="first"))
        await db.commit()
        db.add(Note(text="second"))
        await db.commit()
        db.add(Note(text="third"))

    async with sandbox(database), client(app) as http:
        assert (await http.post("/")).status_code == 200
        assert (await http.post("/")).status_code == 200
        assert await stored(database) == ["before"] + 2 * ["first", "second", "third"]


async def test_application_rolls_back(database: Database):
    """A rollback undoes its own work: what was committed before stays in the test's sight."""
    app = FastAPI()

    @app.post("/{status}")
    async def fail(status: int, db: Annotated[AsyncSession, Depends(database.get_db)]) -> None:
        db.add(Note(text="kept"))
        await db.commit()
        db.add(Note(text="undone"))
        await db.flush()
        if status == 500:
            raise RuntimeError("after a flush")
        if status == 409:
            raise HTTPException(409)
        await db.rollback()

    async with sandbox(database) as session, client(app) as http:
        session.add(Note(text="test's own"))
        await session.commit()
        for status in (500, 409, 200):
            assert (await http.post(f"/{status}")).status_code == status
        assert await stored(database) == ["before", "test's own"] + 3 * ["kept"]


async def test_application_opens_sessions_of_its_own(database: Database):
    """Jobs, retried work and the engine itself take part."""
    async with sandbox(database):
        await add(database, "job")

        async def work(session: AsyncSession, note: str) -> None:
            session.add(Note(text=note))

        await database.run_in_transaction(work, "retried")
        async with database.engine.begin() as connection:
            await connection.execute(insert(Note).values(text="engine"))
        async with database.engine.connect() as connection:
            with pytest.raises(DBAPIError):
                await connection.execute(text("SELECT * FROM nowhere"))
            await connection.rollback()
            await connection.execute(insert(Note).values(text="without a commit"))
        with pytest.raises(RuntimeError):
            async with database.session() as session:
                session.add(Note(text="undone"))
                await session.flush()
                raise RuntimeError
        assert await stored(database) == ["before", "job", "retried", "engine"]


async def test_background_task(database: Database):
    """A background task sees the handler's commit, and its failure undoes only its own work."""
    app = FastAPI()

    @app.post("/")
    async def handler(
        db: Annotated[AsyncSession, Depends(database.get_db)], tasks: BackgroundTasks
    ) -> None:
        db.add(Note(text="handler"))
        tasks.add_task(task, db)

    async def task(db: AsyncSession) -> None:
        await add(database, "job")
        assert len((await db.scalars(select(Note))).all()) == 3
        db.add(Note(text="undone"))
        await db.flush()
        raise RuntimeError("in the background")

    async with sandbox(database), client(app) as http:
        await http.post("/")
        assert await stored(database) == ["before", "handler", "job"]


async def test_stream(database: Database):
    """A stream goes on in a transaction of its own."""
    app = FastAPI()

    @app.post("/{end}")
    async def handler(
        end: str, db: Annotated[AsyncSession, Depends(database.get_db)]
    ) -> StreamingResponse:
        db.add(Note(text="handler"))

        async def lines() -> AsyncIterator[str]:
            yield "first\n"
            db.add(Note(text=f"stream that {end}"))
            await db.flush()
            if end == "fails":
                raise RuntimeError("in the stream")
            yield "last\n"

        return StreamingResponse(lines())

    async with sandbox(database), client(app) as http:
        assert (await http.post("/ends")).text == "first\nlast\n"
        assert (await http.post("/fails")).text == "first\n"
        assert await stored(database) == ["before", "handler", "stream that ends", "handler"]


# --- As in production -----------------------------------------------------------------------------


async def test_hooks_run_at_the_applications_commit(database: Database):
    """Hooks follow what the application's transaction did, not what becomes of the sandbox."""
    called: list[str] = []
    async with sandbox(database), database.session() as session:
        on_commit(session, called.append, "committed")
        session.add(Note(text="note"))
        await session.commit()
        assert called == ["committed"]
        on_rollback(session, called.append, "rolled back")
        session.add(Note(text="undone"))
        await session.rollback()
    assert called == ["committed", "rolled back"]


@pytest.mark.databases(*TRANSACTIONAL_DDL)
@pytest.mark.parametrize("order", ["valid first", "invalid first"])
async def test_deferred_constraint_fails_at_the_applications_commit(database: Database, order: str):
    """A reply to nothing may be written, and not committed; afterwards both may be done again."""

    async def reply(note_id: int) -> None:
        async with database.session() as session:
            session.add(Reply(note_id=note_id))
            await session.flush()

    async def both() -> None:
        async with database.session() as session:
            await session.execute(insert(Reply).values(note_id=50))
            session.add(Note(id=50, text="written second"))

    async with sandbox(database):
        if order == "valid first":
            await both()
        with pytest.raises(IntegrityError):
            await reply(note_id=99)
        assert await stored(database) == ["before"] + ["written second"] * (order == "valid first")
        if order == "invalid first":
            await both()
            await reply(note_id=50)


async def test_swallowed_failure_is_refused(database: Database):
    """A transaction that a failed statement has ended cannot be committed here either."""
    async with sandbox(database):
        try:
            async with database.session() as session:
                session.add(Note(text="lost"))
                await session.flush()
                with suppress(DBAPIError):
                    await session.execute(text("SELECT * FROM nowhere"))
        except TransactionAborted:
            assert database.engine.dialect.name == "postgresql"
            assert await stored(database) == ["before"]
        else:
            assert await stored(database) == ["before", "lost"]


async def test_readers_refuse_to_write_and_fail_alone(database: Database):
    """A read that fails takes nothing along: neither the reader's next nor the writer's work."""
    async with sandbox(database):
        async with database.session() as writer, database.read_session() as reader:
            writer.add(Note(text="written"))
            await writer.flush()
            with pytest.raises(ReadOnlySession):
                await reader.execute(text("DELETE FROM note"))
            with pytest.raises(DBAPIError):
                await reader.execute(text("SELECT * FROM nowhere"))
            assert len((await reader.scalars(select(Note))).all()) == 2
        with pytest.raises(ReadOnlySession):
            async with database.session(isolation_level="SERIALIZABLE", read_only=True) as snapshot:
                await snapshot.scalars(select(Note))
                snapshot.add(Note(text="refused"))
        assert await stored(database) == ["before", "written"]


async def test_options_end_with_their_transaction(postgres_url: str):
    """A timeout holds in its transaction, and in no other of the sandbox."""
    async with Database(DatabaseSettings(url=postgres_url, statement_timeout=33)) as database:
        show = text("SELECT current_setting('statement_timeout')")
        async with sandbox(database):
            for commit in (True, False):
                async with database.session(
                    statement_timeout=5, isolation_level="SERIALIZABLE"
                ) as s:
                    assert await s.scalar(show) == "5s"
                    if not commit:
                        await s.rollback()
                async with database.session() as session:
                    assert await session.scalar(show) == "33s"


@pytest.mark.parametrize(
    "change",
    ["SET LOCAL app.tenant = 'b'", "SELECT set_config('app.tenant', 'b', true)", "bound"],
)
async def test_settings_of_a_transaction_end_with_it(postgres_url: str, driver: str, change: str):
    """A tenant is of one session: not the next session's, nor that of one around it."""
    url = postgres_url.replace("postgresql://", f"postgresql+{driver}://")
    show = text("SELECT coalesce(current_setting('app.tenant', true), '')")

    async def set_tenant(session: AsyncSession) -> None:
        if change == "bound":
            await session.execute(select(func.set_config("app.tenant", "b", True)))
        else:
            await session.execute(text(change))
        assert await session.scalar(show) == "b"

    async with Database(DatabaseSettings(url=url)) as database, sandbox(database):
        async with database.session() as outer:
            await outer.execute(text("SET LOCAL app.tenant = 'a'"))
            async with database.session() as inner:
                await set_tenant(inner)
            assert await outer.scalar(show) == "a"
        async with database.session() as session, database.read_session() as reader:
            assert await session.scalar(show) == ""
            assert await reader.scalar(show) == ""


async def test_savepoints_of_the_application(database: Database):
    """begin_nested() works inside of what is a savepoint already."""
    async with sandbox(database):
        async with database.session() as session:
            session.add(Note(text="kept"))
            with pytest.raises(RuntimeError):
                async with session.begin_nested():
                    session.add(Note(text="undone"))
                    await session.flush()
                    raise RuntimeError
        assert await stored(database) == ["before", "kept"]


@pytest.mark.databases(*TRANSACTIONAL_DDL)
async def test_lifespan_runs_inside(database_url: str):
    """The application may start and stop inside; tables that it creates are gone afterwards."""
    database = Database(DatabaseSettings(url=database_url), metadata=Base.metadata)
    app = FastAPI(lifespan=create_lifespan(databases=[database], auto_create_tables=True))

    @app.post("/")
    async def write(db: Annotated[AsyncSession, Depends(database.get_db)]) -> None:
        db.add(Note(text="note"))

    async with database:
        async with sandbox(database):
            async with running(app) as http:
                assert (await http.post("/")).status_code == 200
            assert await stored(database) == ["note"]
        with pytest.raises(DBAPIError):
            await stored(database)


async def test_handle_that_is_not_started_is_started(database_url: str):
    """A sandbox needs no ceremony around it, and leaves the handle as it was."""
    database = Database(DatabaseSettings(url=database_url))
    async with sandbox(database) as session:
        assert await session.scalar(text("SELECT 1")) == 1
    with pytest.raises(DatabaseNotStarted):
        await database.engine.connect()


async def test_sandbox_in_a_sandbox(database: Database):
    """What an inner one did is undone at its end, for the outer one to see."""
    async with sandbox(database):
        await add(database, "outer")
        async with sandbox(database):
            await add(database, "inner")
            assert await stored(database) == ["before", "outer", "inner"]
        assert await stored(database) == ["before", "outer"]


# --- One connection -------------------------------------------------------------------------------


async def test_concurrent_requests_take_turns(database: Database):
    """Twenty read-modify-writes at once give twenty, failures among them undo only themselves."""
    app = FastAPI()

    @app.post("/{number}")
    async def increment(
        number: int,
        db: Annotated[AsyncSession, Depends(database.get_db)],
        reader: Annotated[AsyncSession, Depends(database.get_read_db)],
    ) -> None:
        counter = await db.get_one(Counter, 1)
        value = counter.value
        await asyncio.sleep(0.001)
        await reader.scalars(select(Note))
        counter.value = value + 1
        if number % 4 == 0:
            await db.flush()
            raise HTTPException(409)
        async with database.session() as inside:
            inside.add(Note(text=str(number)))

    async with sandbox(database) as session, client(app) as http:
        answers = await asyncio.gather(*(http.post(f"/{number}") for number in range(20)))
        assert [answer.status_code for answer in answers].count(409) == 5
        assert (await session.get_one(Counter, 1)).value == 16


async def test_session_inside_of_a_request_shares_its_turn(database: Database):
    """What a handler opens while its own transaction is open does not wait for itself."""
    async with sandbox(database, turn_timeout=5):
        async with database.session() as outer:
            outer.add(Note(text="outer"))
            await outer.flush()
            await asyncio.gather(add(database, "a"), add(database, "b"))
        assert sorted(await stored(database)) == ["a", "b", "before", "outer"]


async def test_turn_that_was_taken_in_a_task_of_its_own(database: Database):
    """wait_for and gather run the first statement in another task; the session is the same."""
    async with sandbox(database, turn_timeout=1):
        async with database.session() as outer:
            await asyncio.gather(outer.scalars(select(Note)))
            await add(database, "inner")
        assert await stored(database) == ["before", "inner"]


async def test_reader_beside_a_writer_at_the_same_time(database: Database):
    """A read that fails, or ends, in the middle of the writer's savepoint takes nothing along."""
    app = FastAPI()

    @app.post("/")
    async def handler(
        db: Annotated[AsyncSession, Depends(database.get_db)],
        reader: Annotated[AsyncSession, Depends(database.get_read_db)],
    ) -> None:
        async def write() -> None:
            for number in range(20):
                async with db.begin_nested():
                    db.add(Note(text=str(number)))

        async def read() -> None:
            for number in range(20):
                with suppress(DBAPIError):
                    await reader.execute(
                        text("SELECT * FROM nowhere" if number % 2 else "SELECT 1")
                    )

        await asyncio.gather(write(), read())

    async with sandbox(database), client(app) as http:
        assert (await http.post("/")).status_code == 200
        assert len(await stored(database)) == 21


async def test_two_tasks_that_wait_for_each_other_are_told(database: Database):
    """A deadlock that only the sandbox has ends with an error that says so."""
    async with sandbox(database, turn_timeout=0.1):
        other_may_go, other_done = asyncio.Event(), asyncio.Event()

        async def other() -> None:
            await other_may_go.wait()
            try:
                await add(database, "other")
            finally:
                other_done.set()

        waiting = asyncio.create_task(other())
        async with database.session() as session:
            session.add(Note(text="own"))
            await session.flush()
            other_may_go.set()
            await other_done.wait()
        with pytest.raises(PoolTimeout, match=r"connection did not become free within 0\.1 s"):
            await waiting
        assert await stored(database) == ["before", "own"]


async def test_earlier_session_may_end_first(database: Database):
    """Two that overlap, in whatever order they end, are both there."""
    async with sandbox(database):
        first, second = database.session(), database.session()
        session = await first.__aenter__()
        session.add(Note(text="first"))
        await session.flush()
        session = await second.__aenter__()
        session.add(Note(text="second"))
        await session.flush()
        await first.__aexit__(None, None, None)
        await second.__aexit__(None, None, None)
        assert await stored(database) == ["before", "first", "second"]


async def test_overlap_that_cannot_be_as_in_production_is_an_error(database: Database):
    """A rollback that undoes another session's work does not go unnoticed, on either side."""
    async with sandbox(database):
        with pytest.raises(SandboxError, match="undone what another session wrote"):
            async with database.session() as outer:
                outer.add(Note(text="outer"))
                await outer.flush()
                async with database.session() as inner:
                    inner.add(Note(text="inner"))
                    await inner.flush()
                    outer.add(Note(text="lost"))
                    await outer.flush()
                    await inner.rollback()
        with pytest.raises(SandboxError, match="What this session did is gone"):
            async with database.session() as outer:
                outer.add(Note(text="outer"))
                await outer.flush()
                async with database.session() as inner:
                    inner.add(Note(text="inner"))
                    await inner.flush()
                    await outer.rollback()
        with pytest.raises(SandboxError, match="undone what another session wrote"):
            async with database.session() as outer:
                outer.add(Note(text="outer"))
                await outer.flush()
                await add(database, "would be stored in production")
                await outer.rollback()
        assert await stored(database) == ["before"]


async def test_session_of_the_test_waits_for_nobody(database: Database):
    """It may have an open transaction while the application works, even in other tasks."""
    async with sandbox(database, turn_timeout=2) as session:
        session.add(Note(text="flushed"))
        await session.flush()
        await asyncio.gather(add(database, "a"), add(database, "b"))
        assert sorted(await stored(database)) == ["a", "b", "before", "flushed"]


async def test_turn_that_is_over_is_nobodys(database: Database):
    """A session that has ended its transaction waits again, behind those that have come meanwhile."""
    order: list[str] = []
    async with sandbox(database):
        began, may_end = asyncio.Event(), asyncio.Event()

        async def other() -> None:
            async with database.session() as session:
                session.add(Note(text="other"))
                await session.flush()
                began.set()
                await may_end.wait()
                order.append("other")

        async with database.session() as session:
            session.add(Note(text="own"))
            await session.commit()
            task = asyncio.create_task(other())
            await began.wait()
            asyncio.get_running_loop().call_later(0.05, may_end.set)
            await session.scalars(select(Note))
            order.append("own")
        await task
    assert order == ["other", "own"]


async def test_two_databases(tmp_path: Path):
    """Sandboxes of two handles know nothing of each other, however their sessions are nested."""
    urls = [f"sqlite:///{tmp_path}/{name}.db" for name in ("users", "orders")]
    users, orders = (Database(DatabaseSettings(url=url)) for url in urls)
    for database in (users, orders):
        await database.start(create_tables=Base.metadata)
    async with sandbox(users, turn_timeout=0.5), sandbox(orders, turn_timeout=0.5):
        async with users.session() as outer:
            outer.add(Note(text="outer"))
            await outer.flush()
            async with orders.session() as order:
                order.add(Note(text="order"))
                await order.flush()
                await add(users, "inner")
                await add(orders, "inner")
        assert await stored(users) == ["outer", "inner"]
        assert await stored(orders) == ["order", "inner"]
    for database in (users, orders):
        assert await stored(database) == []
        await database.stop()


# --- What goes wrong ------------------------------------------------------------------------------


async def test_cancelled_query_takes_along_its_own_transaction_only(database: Database):
    """A request that is cut off in the middle of a query leaves a sandbox that works."""

    async def work() -> None:
        async with database.session() as session:
            session.add(Note(text="cut off"))
            await session.flush()
            await session.execute(text(slow_query(database)))

    async with sandbox(database):
        await add(database, "kept")
        for timeout in (0.05, 0.01):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(timeout):
                    await work()
        await add(database, "afterwards")
        assert await stored(database) == ["before", "kept", "afterwards"]


async def test_session_that_outlives_the_sandbox_can_do_nothing(database: Database):
    """Work that the test forgot to await is refused, for it would be stored for good."""
    async with sandbox(database):
        left = database.session()
        session = await left.__aenter__()
        session.add(Note(text="left"))
        await session.flush()
    with pytest.raises(SandboxError, match="it has ended"):
        await session.execute(text("DELETE FROM note"))
    with pytest.raises(SandboxError, match="it has ended"):
        await left.__aexit__(None, None, None)


@pytest.mark.parametrize(
    "statement",
    [
        "COMMIT",
        " rollback",
        "BEGIN",
        "END TRANSACTION",
        "/* a */ COMMIT",
        "-- a\nCOMMIT",
        "; COMMIT",
        "/* a /* b */ c */ COMMIT",
        "-- a\rCOMMIT",
        "\ufeffCOMMIT",
        "SELECT 1 AS a$$; COMMIT; SELECT 1 AS b$$",
    ],
)
async def test_sql_that_would_end_it_is_refused(database: Database, statement: str):
    """Raw transaction control is told from the session's."""
    async with sandbox(database), database.session() as session:
        with pytest.raises(SandboxError, match="would end the transaction"):
            await session.execute(text(statement))
        await session.execute(text("SAVEPOINT own"))
        await session.execute(text("ROLLBACK TO SAVEPOINT own"))


async def test_engine_from_before_is_refused(database: Database):
    """The engine of this start, or a session, that was kept would commit for good (a worker)."""
    engine = runs_of(database).required().write
    async with database.session() as before:
        async with sandbox(database):
            with pytest.raises(SandboxError, match="from before this sandbox"):
                async with engine.begin() as connection:
                    await connection.execute(insert(Note).values(text="for good"))
            with pytest.raises(SandboxError, match="from before this sandbox"):
                await before.execute(insert(Note).values(text="for good"))
        await before.scalars(select(Note))


async def test_handle_that_is_stopped_too_often_inside(database_url: str):
    """One stop too many, and a start, find the sandbox as it was."""
    database = Database(DatabaseSettings(url=database_url))
    await database.start(create_tables=Base.metadata)
    try:
        async with sandbox(database):
            await database.stop()
            await database.stop()
            await database.start()
            await add(database, "undone")
            await database.stop()
    finally:
        await database.stop()
    if database_url != "sqlite://":
        async with database:
            assert await stored(database) == []


async def test_session_whose_work_is_gone_cannot_go_on(database: Database):
    """What it wrote now would belong to no transaction."""
    async with sandbox(database), database.session() as outer:
        outer.add(Note(text="outer"))
        await outer.flush()
        async with database.session() as inner:
            inner.add(Note(text="inner"))
            await inner.flush()
            await outer.rollback()
            with pytest.raises(SandboxError, match="What this session did is gone"):
                await inner.execute(insert(Note).values(text="nobody's"))
            await inner.rollback()
        assert await stored(database) == ["before"]


async def test_savepoint_of_the_application_that_takes_another_session_along(database: Database):
    """A session that commits inside of begin_nested() would be independent in production."""
    async with sandbox(database):
        with pytest.raises(SandboxError, match="undone what another session wrote"):
            async with database.session() as session, session.begin_nested() as nested:
                session.add(Note(text="outer"))
                await session.flush()
                await add(database, "audit")
                await nested.rollback()
        async with database.session() as session:
            async with session.begin_nested():
                session.add(Note(text="kept"))
                await session.flush()
                await add(database, "audit")
            with suppress(RuntimeError):
                async with session.begin_nested():
                    session.add(Note(text="undone"))
                    await session.flush()
                    raise RuntimeError
        assert await stored(database) == ["before", "kept", "audit"]


async def test_engine_in_autocommit_keeps_each_statement(database: Database):
    """As in production, closing it undoes nothing."""
    async with sandbox(database):
        engine = database.engine.execution_options(isolation_level="AUTOCOMMIT")
        async with engine.connect() as connection:
            await connection.execute(insert(Note).values(text="kept"))
            with suppress(DBAPIError):
                await connection.execute(text("SELECT * FROM nowhere"))
        assert await stored(database) == ["before", "kept"]


@pytest.mark.databases(*TRANSACTIONAL_DDL)
async def test_constraint_that_another_session_may_have_violated(database: Database):
    """The innocent one is not blamed: on one connection they cannot be told apart."""
    async with sandbox(database):
        with pytest.raises(SandboxError, match="cannot know which session"):
            async with database.session() as outer:
                await outer.execute(insert(Reply).values(note_id=77))
                await add(database, "innocent")
        assert await stored(database) == ["before"]


async def test_deferred_by_pragma(sqlite_url: str):
    """SQLite checks all foreign keys at COMMIT then, and the next transaction's at once."""
    async with Database(DatabaseSettings(url=sqlite_url)) as database:
        async with database.engine.begin() as connection:
            await connection.execute(text("CREATE TABLE parent (id INTEGER PRIMARY KEY)"))
            await connection.execute(text("CREATE TABLE child (id INTEGER REFERENCES parent (id))"))
        async with sandbox(database):
            for deferred in (True, False):
                with pytest.raises(IntegrityError):
                    async with database.session() as session:
                        if deferred:
                            await session.execute(text("PRAGMA defer_foreign_keys = ON"))
                        await session.execute(text("INSERT INTO child VALUES (7)"))
                        assert deferred


async def test_tables_that_change_inside(postgres_url: str, driver: str):
    """The next test finds the tables, and plans that fit them."""
    url = postgres_url.replace("postgresql://", f"postgresql+{driver}://")
    database = Database(DatabaseSettings(url=url))
    await database.start(create_tables=Base.metadata)
    for _ in range(2):
        await stored(database)
        async with sandbox(database):
            await stored(database)
            async with database.session() as session:
                await session.execute(text("ALTER TABLE note ALTER COLUMN text TYPE varchar(99)"))
        await stored(database)
    await database.stop()


async def test_error_in_the_test_itself_leaves_nothing(database: Database):
    """A test that fails is rolled back like one that passes, and its error is the one raised."""
    with pytest.raises(ZeroDivisionError):
        async with sandbox(database) as session:
            session.add(Note(text="own"))
            await session.flush()
            await add(database, "job")
            _ = 1 / 0


async def test_failure_of_an_inner_session_whose_work_is_gone_is_the_one_raised(database: Database):
    """Nothing is left to roll back for it, and its own error is not replaced."""
    async with sandbox(database), database.session() as outer:
        outer.add(Note(text="outer"))
        await outer.flush()
        with pytest.raises(ZeroDivisionError):
            async with database.session() as inner:
                inner.add(Note(text="inner"))
                await inner.flush()
                await outer.rollback()
                _ = 1 / 0


async def test_transaction_that_sqlite_ends_by_itself(sqlite_url: str):
    """What comes after it would be stored for good, and is refused."""
    async with Database(DatabaseSettings(url=sqlite_url)) as database:
        async with database.engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        async with sandbox(database):
            with suppress(DBAPIError, SandboxError, TransactionAborted):
                async with database.session() as session:
                    await session.execute(insert(Note).values(id=1, text="first"))
                    await session.execute(
                        text("INSERT OR ROLLBACK INTO note (id, text) VALUES (1, 'second')")
                    )
            with pytest.raises(SandboxError, match="rolled back the whole of it"):
                await add(database, "third")
        assert await stored(database) == []


async def test_options_that_the_database_has_not(sqlite_url: str):
    """They are refused as in production."""
    async with Database(DatabaseSettings(url=sqlite_url)) as database, sandbox(database):
        with pytest.raises(ConfigurationError, match="SQLite has no statement_timeout"):
            async with database.session(statement_timeout=1):
                pass


@pytest.mark.parametrize("how", ["task", "scope"])
async def test_test_that_is_cancelled_at_its_end(database: Database, how: str):
    """The rollback is finished, and the connection goes back alive."""
    engine = database.engine
    inside = asyncio.Event()

    async def work() -> None:
        async with sandbox(database):
            await add(database, "undone")
            inside.set()

    under_way = pause(database, "rollback")
    request = Cancellable(work, how)
    request.start()
    await asyncio.wait_for(under_way.wait(), 5)
    await request.cancel()
    assert database.engine is engine
    assert await stored(database) == ["before"]


async def test_queries_are_counted_without_what_the_sandbox_adds(database: Database):
    """A savepoint in the place of BEGIN is no query of the application's."""
    async with sandbox(database):
        with count_queries(database) as queries:
            async with database.session() as session:
                await session.scalars(select(Note))
            await stored(database)
    assert queries.count == 2


async def test_connection_that_the_server_ends(postgres_url: str):
    """A lost connection is one clear error, and nothing is written on a new one."""
    database = Database(DatabaseSettings(url=postgres_url))
    await database.start(create_tables=Base.metadata)
    async with Database(DatabaseSettings(url=postgres_url)) as other:
        async with sandbox(database):
            await add(database, "lost")
            async with other.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as c:
                await c.execute(
                    text(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                        "WHERE pid <> pg_backend_pid() AND datname = current_database()"
                    )
                )
            # asyncpg 0.30 has an error of its own for a connection that ends while it is idle.
            with pytest.raises((DBAPIError, InternalClientError)):
                await add(database, "first")
            for _ in range(2):
                with pytest.raises(SandboxError, match="its connection was lost"):
                    await add(database, "second")
        assert await stored(database) == []
    await database.stop()
