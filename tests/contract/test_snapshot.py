"""Snapshots: every statement of a report sees one state, no session waits, and nothing is written."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI
from fastapi.responses import StreamingResponse
from sqlalchemy import func, insert, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import Database, DatabaseSettings, SnapshotDB, create_lifespan
from fastapi_asyncdb.dialects import family_of
from fastapi_asyncdb.errors import ReadOnlySession
from tests.contract.test_read_only import WRITES
from tests.support.application import Base, Note, Request, checked_out, client, running, stored
from tests.support.cancelling import FOREVER

SNAPSHOT: dict[str, Any] = {"isolation_level": "REPEATABLE READ", "read_only": True}
COUNT = select(func.count()).select_from(Note)


async def test_report_sees_one_state(database: Database):
    """Two statements agree although another session commits in between; the next request sees it."""
    app = FastAPI()

    @app.get("/")
    async def report(
        db: Annotated[AsyncSession, Depends(database.get_snapshot_db)],
    ) -> list[int | None]:
        first = await db.scalar(COUNT)
        async with database.session() as writer:
            writer.add(Note(text="meanwhile"))
        return [first, await db.scalar(COUNT)]

    async with client(app) as http:
        assert (await http.get("/")).json() == [0, 0]
        assert (await http.get("/")).json() == [1, 1]


async def test_snapshot_db_is_the_default_handles(
    database_url: str, monkeypatch: pytest.MonkeyPatch
):
    """SnapshotDB works on the handle that DATABASE_URL configures, on both databases."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    app = FastAPI(lifespan=create_lifespan(metadata=Base.metadata, auto_create_tables=True))

    @app.get("/")
    async def report(db: SnapshotDB) -> int | None:
        return await db.scalar(COUNT)

    @app.post("/")
    async def write(db: SnapshotDB) -> None:
        db.add(Note(text="no"))

    async with running(app) as http:
        assert (await http.get("/")).json() == 0
        assert (await http.post("/")).status_code == 500
        assert (await http.get("/")).json() == 0


async def test_snapshot_never_blocks_a_writer(database: Database):
    """While a report is open, others write at once; it goes on reading the old state."""
    async with database.session(**SNAPSHOT) as report:
        assert await report.scalar(COUNT) == 0
        async with asyncio.timeout(2):
            for number in range(20):
                async with database.session() as writer:
                    writer.add(Note(text=str(number)))
        assert await report.scalar(COUNT) == 0
    assert len(await stored(database)) == 20


@pytest.mark.parametrize("statement", WRITES.values(), ids=WRITES.keys())
async def test_snapshot_refuses_to_write(database: Database, statement):
    """The guard of the reading sessions refuses whatever would change or lock a row."""
    async with database.session() as session:
        session.add(Note(text="kept"))
    if "FOR UPDATE" in str(statement) and database.engine.name == "sqlite":
        return  # SQLite has no row locks, SQLAlchemy leaves the clause out
    with pytest.raises(ReadOnlySession, match="SnapshotDB"):
        async with database.session(**SNAPSHOT) as session:
            await session.execute(statement)
    assert await stored(database) == ["kept"]


WRITING_FUNCTION = text(
    "CREATE FUNCTION write_note() RETURNS INT BEGIN INSERT INTO note VALUES (1, 'sly'); RETURN 1; END"
)


async def test_the_database_itself_refuses_to_write(database: Database):
    """Even what the text does not show is refused by the server, or the connection."""
    async with database.session(**SNAPSHOT) as session:
        if database.engine.name == "sqlite":
            assert await session.scalar(text("PRAGMA query_only")) == 1
        elif family_of(database.engine.name) == "postgresql":
            assert await session.scalar(text("SHOW transaction_read_only")) == "on"
        else:
            async with database.engine.begin() as connection:
                await connection.execute(WRITING_FUNCTION)
            with pytest.raises(DBAPIError, match="READ ONLY transaction"):
                await session.execute(text("SELECT write_note()"))


async def test_savepoint_keeps_a_report_alive(database: Database):
    """A statement that fails in a savepoint leaves the snapshot as it was."""
    async with database.session(**SNAPSHOT) as session:
        assert await session.scalar(COUNT) == 0
        async with database.session() as writer:
            writer.add(Note(text="meanwhile"))
        with pytest.raises(Exception, match="nowhere"):
            async with session.begin_nested():
                await session.execute(text("SELECT * FROM nowhere"))
        async with session.begin_nested():
            assert await session.scalar(COUNT) == 0


@pytest.mark.parametrize("driver", ["aiosqlite", "asyncpg", "psycopg"])
async def test_report_is_streamed_row_by_row(driver: str, sqlite_url: str, postgres_url: str):
    """db.stream() has a cursor on the server, in the handler and in the response's body."""
    url = make_url(sqlite_url if driver == "aiosqlite" else postgres_url)
    backend = url.get_backend_name()
    settings = DatabaseSettings(url=url.set(drivername=f"{backend}+{driver}"))
    database = Database(settings)
    await database.start(create_tables=Base.metadata)
    app = FastAPI()

    async def lines(db: AsyncSession) -> AsyncIterator[str]:
        async for line in await db.stream_scalars(select(Note.text).order_by(Note.id)):
            if line == "0":
                async with database.session() as writer:
                    await writer.execute(text("DELETE FROM note WHERE id > 1500"))
            yield line

    @app.get("/")
    async def report(
        db: Annotated[AsyncSession, Depends(database.get_snapshot_db)],
    ) -> StreamingResponse:
        rows = await db.stream(select(Note.text).limit(1))
        assert (await rows.first()) is not None
        return StreamingResponse(lines(db))

    async with database.session() as session:
        await session.execute(insert(Note), [{"text": str(n)} for n in range(2000)])
    streamed = Request(app, "/")
    await streamed.run()
    assert streamed.body == b"".join(str(n).encode() for n in range(2000))
    assert len(await stored(database)) == 1500
    assert checked_out(database) == 0
    await database.stop()


async def test_stream_after_a_commit_has_a_new_snapshot(database: Database):
    """The handler's snapshot ends with it; what is read later sees what was committed since."""
    seen: list[int | None] = []
    app = FastAPI()

    async def body(db: AsyncSession) -> AsyncIterator[str]:
        seen.append(await db.scalar(COUNT))
        yield "end"

    @app.get("/")
    async def endpoint(
        db: Annotated[AsyncSession, Depends(database.get_snapshot_db)],
    ) -> StreamingResponse:
        seen.append(await db.scalar(COUNT))
        async with database.session() as writer:
            writer.add(Note(text="meanwhile"))
        return StreamingResponse(body(db))

    await Request(app, "/").run()
    assert seen == [0, 1]


async def test_cancelled_snapshot_gives_its_connection_back(database: Database):
    """A report that is cut off leaves no connection in use, and no transaction open in it."""
    under_way = asyncio.Barrier(6)

    async def report() -> None:
        async with database.session(**SNAPSHOT) as session:
            await session.scalar(COUNT)
            await under_way.wait()
            await asyncio.sleep(FOREVER)

    tasks = [asyncio.create_task(report()) for _ in range(5)]
    await under_way.wait()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert checked_out(database) == 0
    async with database.session() as writer:
        writer.add(Note(text="new"))
    assert await stored(database) == ["new"]  # an old snapshot would not show it


async def test_snapshot_works_in_memory():
    """A database in memory has no snapshots, but tests of reports may run on it."""
    database = Database(DatabaseSettings(url="sqlite://"))
    await database.start(create_tables=Base.metadata)
    async with database.session(**SNAPSHOT) as report:
        assert await report.scalar(COUNT) == 0
        async with asyncio.timeout(2), database.session() as writer:
            writer.add(Note(text="meanwhile"))
        assert await report.scalar(COUNT) == 1
        with pytest.raises(ReadOnlySession):
            await report.execute(text("DELETE FROM note"))
    await database.stop()
