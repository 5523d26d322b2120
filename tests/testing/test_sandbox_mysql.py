"""A sandbox on MySQL and MariaDB, which commit when the schema changes, and forget all in a deadlock."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI
from sqlalchemy import insert, select, text, update
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import Database, DatabaseSettings, create_lifespan
from fastapi_asyncdb.errors import SandboxError, TransactionAborted
from fastapi_asyncdb.testing import sandbox
from fastapi_asyncdb.testing.sandbox.mysql import Interruption
from tests.support.application import Base, Counter, Note, running, stored
from tests.support.cancelling import Cancellable
from tests.support.databases import MARIADB
from tests.support.deadlocks import deadlock
from tests.support.server_sql import number_of

pytestmark = pytest.mark.databases(*MARIADB)

COMMITS = [
    "CREATE TABLE further (id INT)",
    "create or replace table further (id INT)",
    "/* of note */ ALTER TABLE note ADD COLUMN x INT",
    "DROP TABLE note",
    "TRUNCATE TABLE note",
    "TRUNCATE note",
    "RENAME TABLE note TO notes",
    "CREATE INDEX by_text ON note (text)",
    "LOCK TABLES note WRITE",
    "ANALYZE TABLE note",
    "FLUSH TABLES",
    "GRANT SELECT ON note TO nobody",
    "SET autocommit = 1",
    "SET @@session.autocommit = ON",
    "BEGIN",
    "START TRANSACTION",
]


async def add(database: Database, note: str) -> None:
    """Store a note, as a job does."""
    async with database.session() as session:
        session.add(Note(text=note))


async def scalar(database: Database, sql: str) -> object:
    """Return the first value, read by the engine for writing."""
    async with database.engine.connect() as connection:
        return await connection.scalar(text(sql))


# --- Commits that statements of MySQL imply --------------------------------------------------------


@pytest.mark.parametrize("statement", COMMITS)
async def test_statement_that_commits_is_refused(database: Database, statement: str):
    """Before it is sent; and the sandbox goes on."""
    async with sandbox(database):
        await add(database, "written before")
        with pytest.raises(SandboxError, match=r"isolated_database"):
            async with database.session() as session:
                await session.execute(text(statement))
        await add(database, "written afterwards")
        assert await stored(database) == ["before", "written before", "written afterwards"]


async def test_refusal_names_what_to_do(database: Database):
    """The statement, the cause, and the two ways out."""
    async with sandbox(database) as session:
        with pytest.raises(
            SandboxError,
            match=r"CREATE TABLE would commit.*changes the schema\. Create tables before the sandbox",
        ):
            await session.execute(text("CREATE TABLE further (id INT)"))


@pytest.fixture
async def procedures(database: Database) -> AsyncIterator[None]:
    """Procedures that change the schema; one of them begins a transaction afterwards."""
    change = "CREATE OR REPLACE TABLE further (id INT); DROP TABLE further;"
    begins = f"{change} START TRANSACTION; UPDATE counter SET value = value + 1;"
    bodies = {"changes": change, "changes_and_begins": begins}
    async with database.engine.connect() as connection:
        for name, body in bodies.items():
            await connection.execute(text(f"CREATE PROCEDURE {name}() BEGIN {body} END"))
    yield
    async with database.engine.connect() as connection:
        await connection.execute(text("DELETE FROM note WHERE text = 'committed'"))
        await connection.commit()


@pytest.mark.usefixtures("procedures")
@pytest.mark.parametrize("procedure", ["changes", "changes_and_begins"])
@pytest.mark.parametrize("then", ["nothing", "a session"])
async def test_procedure_that_commits_is_reported(database: Database, procedure: str, then: str):
    """It cannot be seen in the text; the sandbox never ends as if all had been rolled back."""
    with pytest.raises(SandboxError, match=r"may be stored|cannot be used any more"):
        async with sandbox(database) as own:
            own.add(Note(text="committed"))
            await own.flush()
            await own.execute(text(f"CALL {procedure}()"))
            if then == "a session":
                await own.commit()
                await add(database, "refused")
    async with database.session() as session:
        notes = await session.scalars(select(Note.text).order_by(Note.id))
        assert list(notes) == ["before", "committed"]


async def test_temporary_tables_are_of_one_sandbox(database: Database):
    """They commit nothing, and a rollback leaves them: the connection goes with them."""
    async with sandbox(database) as session:
        await session.execute(text("CREATE TEMPORARY TABLE scratch (id INT)"))
        await session.execute(text("INSERT INTO scratch VALUES (1)"))
        await add(database, "undone")
    with pytest.raises(DBAPIError, match="scratch"):
        await scalar(database, "SELECT * FROM scratch")


async def test_lifespan_finds_its_tables(database: Database):
    """auto_create_tables changes nothing that is there already."""
    app = FastAPI(
        lifespan=create_lifespan(
            databases=[database], metadata=Base.metadata, auto_create_tables=True
        )
    )

    @app.post("/")
    async def write(db: Annotated[AsyncSession, Depends(database.get_db)]) -> None:
        db.add(Note(text="note"))

    async with sandbox(database), running(app) as http:
        assert (await http.post("/")).status_code == 200
        assert await stored(database) == ["before", "note"]


async def test_lifespan_that_would_create_tables_is_refused(mysql_url: str):
    """In a sentence, before anything is created."""
    database = Database(DatabaseSettings(url=mysql_url), metadata=Base.metadata)
    app = FastAPI(lifespan=create_lifespan(databases=[database], auto_create_tables=True))
    async with database:
        with pytest.raises(SandboxError, match="Create tables before the sandbox begins"):
            async with sandbox(database), running(app):
                pass
        assert await scalar(database, "SHOW TABLES") is None


# --- What else is not as on PostgreSQL ------------------------------------------------------------


async def test_swallowed_deadlock_ends_the_sandbox(database: Database):
    """The server has rolled back the whole transaction: the sandbox's, with what others did in it."""
    async with sandbox(database):
        await add(database, "other's")
        with pytest.raises(TransactionAborted):
            async with database.session() as session:
                session.add(Note(id=500, text="victim"))
                await session.flush()
                with pytest.raises(OperationalError, match="1213"):
                    await deadlock(session, 500)
        with pytest.raises(SandboxError, match="rolled back the whole of it"):
            await add(database, "stored for good")


async def test_failed_statement_undoes_itself_only(database: Database):
    """A row that is there already is no reason to undo what came before."""
    async with sandbox(database):
        async with database.session() as session:
            session.add(Note(text="kept"))
            await session.flush()
            with pytest.raises(DBAPIError):
                await session.execute(insert(Counter).values(id=1, value=2))
        assert await stored(database) == ["before", "kept"]


@pytest.mark.parametrize("how", ["task", "scope"])
@pytest.mark.parametrize("kind", ["session", "read_session"])
async def test_cancelled_statement_leaves_the_connection(database: Database, how: str, kind: str):
    """The drivers would close it, and the sandbox would be over: the server ends the statement."""
    began = asyncio.Event()

    async def work() -> None:
        async with getattr(database, kind)() as session:
            if kind == "session":
                session.add(Note(text="cut off"))
                await session.flush()
            began.set()
            await session.execute(text("SELECT SLEEP(60) FROM note"))

    async with sandbox(database) as own:
        number = await number_of(own)
        await add(database, "kept")
        cancelled = Cancellable(work, how)
        cancelled.start()
        await began.wait()
        await asyncio.sleep(0.02)
        await cancelled.cancel()
        assert await stored(database) == ["before", "kept"]
        assert await number_of(own) == number


async def test_cancellation_at_the_end_of_a_statement(
    database: Database, monkeypatch: pytest.MonkeyPatch
):
    """A statement that has ended is not interrupted: what comes next would be."""
    around = Interruption.around

    def cancelling_at_the_end(self: Interruption, execute: Callable[..., None]):
        def run(*arguments: Any) -> None:
            execute(*arguments)
            asyncio.get_running_loop().call_soon(request.task.cancel)

        return around(self, run)

    async def write() -> None:
        async with database.session() as session:
            await session.execute(insert(Note).values(text="cut off"))

    async with sandbox(database):
        request, tasks = Cancellable(write, "task"), asyncio.all_tasks()
        with monkeypatch.context() as patch:
            patch.setattr(Interruption, "around", cancelling_at_the_end)
            request.start()
            await request.cancelled()
        assert asyncio.all_tasks() == tasks
        await add(database, "later")
        assert await stored(database) == ["before", "later"]


async def test_cancelled_write_is_undone(database: Database):
    """The statement itself is rolled back, and what its transaction has written before."""
    slow = update(Note).values(text="changed").where(text("SLEEP(0.5) = 0"))
    async with sandbox(database):
        for number in range(6):
            await add(database, f"{number}")
        with suppress(TimeoutError):
            async with asyncio.timeout(0.2), database.session() as session:
                session.add(Note(text="cut off"))
                await session.flush()
                await session.execute(slow)
        assert await stored(database) == ["before", *"012345"]


@pytest.mark.parametrize("end", ["commit", "rollback"])
async def test_timeouts_end_with_their_transaction(database: Database, end: str):
    """Neither a commit nor a rollback of the server's puts variables back."""
    show = text("SELECT CONCAT(@@max_statement_time, ' ', @@innodb_lock_wait_timeout)")
    async with sandbox(database):
        async with database.session() as session:
            before = await session.scalar(show)
        async with database.session(statement_timeout=5, lock_timeout=7) as session:
            assert await session.scalar(show) == "5.000000 7"
            await getattr(session, end)()
        async with database.session() as session:
            assert await session.scalar(show) == before


async def test_transaction_stays_as_long_as_a_debugger(database_url: str):
    """The limit for idle transactions holds again when the sandbox is over."""
    show = "SELECT @@idle_transaction_timeout"
    settings = DatabaseSettings(url=database_url, idle_in_transaction_timeout=77, pool_size=1)
    async with Database(settings) as database:
        async with sandbox(database):
            async with sandbox(database):
                assert await scalar(database, show) == 0
            assert await scalar(database, show) == 0
        assert await scalar(database, show) == 77


async def test_locks_of_a_session_do_not_outlive_it(database: Database, database_url: str):
    """A rollback leaves advisory locks, which the next test would wait for."""
    async with sandbox(database), database.session() as session:
        await session.execute(text("SELECT GET_LOCK('of a test', 1)"))
    async with Database(DatabaseSettings(url=database_url)) as other:
        assert await scalar(other, "SELECT GET_LOCK('of a test', 1)") == 1


async def test_variables_of_a_session_do_not_outlive_the_sandbox(database: Database):
    """A rollback leaves them too."""
    async with sandbox(database) as session:
        await session.execute(text("SET @tenant = 7"))
    assert await scalar(database, "SELECT @tenant") is None


async def test_savepoint_in_autocommit_is_refused(database: Database):
    """The server would have forgotten it at its release."""
    engine = database.engine.execution_options(isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        with pytest.raises(DBAPIError):
            async with connection.begin_nested():
                pass
    async with sandbox(database):
        engine = database.engine.execution_options(isolation_level="AUTOCOMMIT")
        async with engine.connect() as connection:
            with pytest.raises(SandboxError, match="in autocommit"):
                await connection.begin_nested()


@pytest.mark.parametrize("inside", ["session", "read_session"])
async def test_function_that_writes_in_a_query(database: Database, inside: str):
    """What it wrote does not go unnoticed when another session's rollback takes it along."""
    functions = {
        "writes": "INSERT INTO note (text) VALUES ('by a function'); RETURN 1;",
        "counts": "RETURN (SELECT COUNT(*) FROM note);",
    }
    async with database.engine.connect() as connection:
        for name, body in functions.items():
            kind = "READS SQL DATA" if name == "counts" else ""
            sql = f"CREATE FUNCTION {name}() RETURNS INT {kind} BEGIN {body} END"
            await connection.execute(text(sql))

    async def query(sql: str) -> None:
        async with database.session() as outer:
            outer.add(Note(text="outer"))
            await outer.flush()
            async with getattr(database, inside)() as session:
                await session.execute(text(sql))
            await outer.rollback()

    async with sandbox(database):
        with pytest.raises(SandboxError, match="undone what another session wrote"):
            await query("SELECT writes()")
        await query("SELECT counts(), NOW()")


async def test_numbers_go_on(database: Database):
    """A rollback gives back no number of AUTO_INCREMENT, here as in production."""
    async with sandbox(database), database.session() as session:
        note = Note(text="undone")
        session.add(note)
        await session.flush()
        number = note.id
    async with sandbox(database), database.session() as session:
        note = Note(text="undone")
        session.add(note)
        await session.flush()
        assert note.id > number
