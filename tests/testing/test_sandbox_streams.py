"""A sandbox refuses what production refuses of streams and of sessions that only read."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI
from fastapi.responses import StreamingResponse
from sqlalchemy import func, insert, select, text
from sqlalchemy.exc import DBAPIError, ResourceClosedError
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import Database
from fastapi_asyncdb.errors import ReadOnlySession, SandboxError
from fastapi_asyncdb.testing import sandbox
from tests.support.application import Note, client, stored
from tests.support.databases import EVERY_KIND

pytestmark = pytest.mark.databases(*EVERY_KIND)

SNAPSHOT: dict[str, Any] = {"isolation_level": "REPEATABLE READ", "read_only": True}
ADD_NOTE = """\
CREATE FUNCTION add_note() RETURNS int LANGUAGE sql AS
$$ INSERT INTO note (text) VALUES ('by a function') RETURNING 1 $$
"""


def is_postgresql(database: Database) -> bool:
    """Tell whether functions, and cursors, are PostgreSQL's."""
    return database.engine.dialect.name == "postgresql"


async def test_reading_sessions_stream(database: Database):
    """As in production: in a response, and beside other reads."""
    app = FastAPI()

    @app.get("/")
    async def notes(
        db: Annotated[AsyncSession, Depends(database.get_read_db)],
    ) -> StreamingResponse:
        result = await db.stream_scalars(select(Note.text))
        assert await db.scalar(select(func.count()).select_from(Note)) == 1

        async def lines() -> AsyncIterator[str]:
            async for line in result:
                yield line

        return StreamingResponse(lines())

    async with sandbox(database), client(app) as http:
        assert (await http.get("/")).text == "before"


async def test_stream_in_autocommit_that_may_write_is_refused(database: Database):
    """PostgreSQL has no cursor for it; the library's own reading connections have a transaction."""
    engine = database.engine.execution_options(isolation_level="AUTOCOMMIT")
    if is_postgresql(database):
        async with engine.connect() as connection:
            with pytest.raises(DBAPIError):  # production
                await connection.stream(select(Note))
    async with sandbox(database):
        engine = database.engine.execution_options(isolation_level="AUTOCOMMIT")
        async with engine.connect() as connection:
            if is_postgresql(database):
                with pytest.raises(SandboxError, match="in autocommit"):
                    await connection.stream(select(Note))
            else:
                await (await connection.stream(select(Note))).close()
        async with database.read_engine.connect() as connection:
            assert await (await connection.stream(select(Note.text))).first() == ("before",)


async def refused(session: AsyncSession) -> bool:
    """Tell whether a savepoint is refused."""
    try:
        async with session.begin_nested():
            await session.scalar(text("SELECT 1"))
    except ReadOnlySession:
        return True
    return False


async def test_savepoint_of_a_reading_session_is_refused(database: Database):
    """In autocommit there is none; a snapshot has some."""
    async with database.read_session() as session:
        assert await refused(session)  # production
    async with sandbox(database):
        async with database.read_session() as session:
            assert await refused(session)
        async with database.session(**SNAPSHOT) as session:
            assert not await refused(session)


@pytest.mark.parametrize("call", ["add_note()", "nextval('note_id_seq')"])
async def test_function_that_writes_is_refused_in_a_snapshot(database: Database, call: str):
    """What the text does not show, the server refuses; others write beside it."""
    if not is_postgresql(database):
        return  # SQLite has no such functions
    statement = text(f"SELECT {call}")
    async with sandbox(database):
        async with database.session() as session:
            await session.execute(text(ADD_NOTE))
        async with database.session(**SNAPSHOT) as snapshot, database.session() as session:
            assert await snapshot.scalar(text("SHOW transaction_read_only")) == "on"
            with pytest.raises(ReadOnlySession, match="read-only transaction"):
                async with snapshot.begin_nested():
                    await snapshot.execute(statement)
            await session.execute(insert(Note).values(text="beside"))
            assert await session.scalar(statement)
            assert await snapshot.scalar(text("SELECT 1")) == 1
        assert (await stored(database))[:2] == ["before", "beside"]
        async with database.read_session() as reader:
            assert await reader.scalar(statement)  # in autocommit, as in production
            with pytest.raises(Exception, match="read-only transaction"):
                await (await reader.stream(statement)).first()
            assert await reader.scalar(statement)


async def test_stream_of_what_has_no_cursor(database: Database):
    """Psycopg declares its cursors, which only queries have: INSERT has none."""
    statement = insert(Note).values(text="streamed").returning(Note.text)

    async def stream() -> list[str]:
        async with database.session() as session:
            return [row async for row in await session.stream_scalars(statement)]

    async with sandbox(database):
        if database.engine.dialect.driver == "psycopg":
            with pytest.raises(DBAPIError, match="syntax error"):
                await stream()
        else:
            assert await stream() == ["streamed"]


@pytest.mark.parametrize("reads", [True, False])
async def test_commit_in_the_middle_of_a_stream_ends_it(database: Database, reads: bool):
    """PostgreSQL's cursor is gone with its transaction; a loop that commits fails at its next batch."""
    streamed = select(Note.text).execution_options(yield_per=1)

    async def commit_in_a_loop() -> None:
        async with database.read_session() if reads else database.session() as session:
            async for _ in await session.stream(streamed):
                await session.commit()

    if not is_postgresql(database):
        return  # SQLite reads on
    with pytest.raises(ResourceClosedError):  # production
        await commit_in_a_loop()
    async with sandbox(database):
        with pytest.raises(ResourceClosedError):
            await commit_in_a_loop()


async def test_savepoint_in_autocommit_is_refused(database: Database):
    """PostgreSQL has savepoints in transactions only."""

    async def savepoint() -> None:
        engine = database.engine.execution_options(isolation_level="AUTOCOMMIT")
        async with engine.connect() as connection, connection.begin_nested():
            await connection.execute(select(Note))

    if not is_postgresql(database):
        return  # SQLite's savepoint is a transaction then
    with pytest.raises(DBAPIError, match="SAVEPOINT"):  # production
        await savepoint()
    async with sandbox(database):
        with pytest.raises(SandboxError, match="in autocommit"):
            await savepoint()
