"""Whatever goes wrong in a sandbox is undone, told, and nobody else's."""

import asyncio
import time
from contextlib import suppress
from functools import partial

import asyncpg
import pytest
from sqlalchemy import insert, select, text
from sqlalchemy.exc import IntegrityError

from fastapi_asyncdb import Database, DatabaseSettings
from fastapi_asyncdb.errors import SandboxError
from fastapi_asyncdb.testing import sandbox
from tests.contract.support import Note, stored
from tests.faults.support import Cancellable, slow_query


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


def _a_while(database: Database) -> str:
    """Return a query that takes some time and, on SQLite, ends by itself."""
    query = slow_query(database)
    return query.replace("1000000000", "1000000").replace("60", "1")


@pytest.mark.parametrize("session", ["session", "read_session"])
@pytest.mark.parametrize("block", ["succeeds", "raises"])
async def test_query_that_still_runs_at_the_end(database: Database, session: str, block: str):
    """It is cut off, and the test is told of it, unless it has an error of its own to tell."""

    async def forgotten() -> None:
        async with getattr(database, session)() as opened:
            await opened.execute(text(slow_query(database)))

    started = time.monotonic()
    tasks: list[asyncio.Task[None]] = []
    error = SandboxError if block == "succeeds" else ZeroDivisionError
    with pytest.raises(error) as raised:
        async with sandbox(database):
            tasks.append(asyncio.create_task(forgotten(), name="mail"))
            await asyncio.sleep(0.1)
            if block == "raises":
                _ = 1 / 0
    if block == "succeeds":
        query = " ".join(slow_query(database).split()[:2])
        assert f"A query still ran when the sandbox ended: {query}" in str(raised.value)
        assert "in mail (" in str(raised.value)
    with pytest.raises(SandboxError, match="it has ended"):
        await tasks[0]
    assert time.monotonic() - started < 3


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
@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
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


async def test_reader_that_waits_for_a_query_that_is_cut_off(database: Database):
    """It finds the connection as if the writer had another one."""
    query = _a_while(database)
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


async def test_failed_statement_stops_nobody_else(database: Database):
    """PostgreSQL ends the transaction of whoever failed, and of nobody else."""
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
