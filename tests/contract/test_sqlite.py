"""SQLite as a server would have it. Its memory database as well."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

import pytest
from fastapi import Depends, FastAPI
from sqlalchemy import func, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import Database, DatabaseSettings
from tests.support.application import Base, Counter, Note, Reply, checked_out, client, stored
from tests.support.cancelling import Cancellable, slow_query

pytestmark = pytest.mark.promise("T16")


@pytest.fixture(params=["file", "memory", "named memory"])
async def database(request: pytest.FixtureRequest, sqlite_url: str) -> AsyncIterator[Database]:
    """SQLite in a file, in memory, and in a memory that the URL names."""
    url = {
        "file": sqlite_url,
        "memory": "sqlite://",
        "named memory": "sqlite:///file:contract?mode=memory&cache=shared&uri=true",
    }[request.param]
    database = Database(DatabaseSettings(url=url))
    await database.start(create_tables=Base.metadata)
    yield database
    assert checked_out(database) == 0
    await database.stop()


async def test_fifty_concurrent_read_modify_writes_give_fifty(database: Database):
    """Writers begin with the lock, so no writer writes on top of a stale read."""
    app = FastAPI()
    async with database.session() as session:
        session.add(Counter(id=1, value=0))

    @app.post("/")
    async def endpoint(db: Annotated[AsyncSession, Depends(database.get_db)]) -> None:
        counter = await db.get_one(Counter, 1)
        await asyncio.sleep(0)
        counter.value += 1

    async with client(app) as http:
        responses = await asyncio.gather(*(http.post("/") for _ in range(50)))
    assert {response.status_code for response in responses} == {200}
    async with database.read_session() as session:
        assert await session.scalar(select(Counter.value)) == 50


async def test_foreign_keys_are_enforced(database: Database):
    """SQLite has them off unless every connection turns them on."""
    with pytest.raises(IntegrityError):
        async with database.session() as session:
            session.add(Reply(note_id=404))


async def test_ddl_is_part_of_the_transaction(database: Database):
    """The driver's own BEGIN would commit before a CREATE TABLE; ours does not."""
    with pytest.raises(RuntimeError):
        async with database.session() as session:
            await session.execute(text("CREATE TABLE scratch (id INTEGER)"))
            raise RuntimeError
    async with database.read_session() as session:
        names = await session.scalars(text("SELECT name FROM sqlite_master"))
        assert "scratch" not in set(names)


@pytest.mark.promise("T17")
async def test_reader_goes_on_beside_an_open_write(database: Database):
    """A reader neither waits for a writer nor makes one wait."""
    async with database.session() as writer, database.read_session() as reader:
        writer.add(Note(text="open"))
        await writer.flush()
        async with asyncio.timeout(1):
            await reader.scalar(select(func.count()).select_from(Note))
            await writer.commit()
            assert await reader.scalar(select(func.count()).select_from(Note)) == 1


async def test_fifty_readers_and_writers_at_once(database: Database):
    """Reads and writes in a crowd all succeed, in memory as well."""

    async def write(number: int) -> None:
        async with database.session() as session:
            session.add(Note(text=str(number)))

    await asyncio.gather(
        *(write(number) for number in range(50)), *(stored(database) for _ in range(50))
    )
    assert len(await stored(database)) == 50


async def test_memory_survives_the_loss_of_its_connections(database: Database):
    """An in-memory database lives as long as its handle, whatever happens to one connection."""
    async with database.session() as session:
        session.add(Note(text="kept"))
    async with database.session() as session:
        connection = await session.connection()
        await connection.invalidate()
        await session.rollback()
    assert await stored(database) == ["kept"]


async def test_memory_databases_of_two_handles_are_separate():
    """Two handles with the same URL have nothing in common, and a second start begins empty."""
    one = Database(DatabaseSettings(url="sqlite://"))
    two = Database(DatabaseSettings(url="sqlite://"))
    await one.start(create_tables=Base.metadata)
    await two.start(create_tables=Base.metadata)
    async with one.session() as session:
        session.add(Note(text="one"))
    assert await stored(two) == []
    await one.stop()
    await two.stop()
    await one.start(create_tables=Base.metadata)
    assert await stored(one) == []
    await one.stop()


@pytest.mark.parametrize(
    ("pragma", "value"), [("journal_mode", "wal"), ("synchronous", 1), ("foreign_keys", 1)]
)
async def test_file_connections_have_the_pragmas(sqlite_url: str, pragma: str, value: object):
    """WAL, synchronous=NORMAL and foreign keys, on writers and readers."""
    async with Database(DatabaseSettings(url=sqlite_url)) as database:
        async with database.session() as session:
            assert await session.scalar(text(f"PRAGMA {pragma}")) == value
        async with database.read_session() as session:
            assert await session.scalar(text(f"PRAGMA {pragma}")) == value


@pytest.mark.parametrize(("lock_timeout", "milliseconds"), [(None, 5000), (1.5, 1500)])
async def test_busy_timeout_is_the_lock_timeout(
    sqlite_url: str, lock_timeout: float | None, milliseconds: int
):
    """Waiting for the write lock is SQLite's business, five seconds by default."""
    settings = DatabaseSettings(url=sqlite_url, lock_timeout=lock_timeout)
    async with Database(settings) as database, database.session() as session:
        assert await session.scalar(text("PRAGMA busy_timeout")) == milliseconds


@pytest.mark.promise("T10")
@pytest.mark.parametrize("how", ["task", "scope"])
async def test_query_beside_rows_that_nobody_fetched(sqlite_url: str, how: str):
    """A cursor that is still open keeps no lock, although SQLite's interrupts last as long."""
    database = Database(DatabaseSettings(url=sqlite_url))
    await database.start(create_tables=Base.metadata)
    reached = asyncio.Event()

    async def work() -> None:
        async with database.session() as session:
            session.add_all([Note(text="lost") for _ in range(2000)])
            await session.flush()
            rows = await session.stream(select(Note).execution_options(yield_per=1))
            await rows.fetchone()
            reached.set()
            await session.execute(text(slow_query(database)))

    request = Cancellable(work, how)
    request.start()
    await asyncio.wait_for(reached.wait(), 5)
    await asyncio.sleep(0.05)
    await request.cancel()
    assert await stored(database) == []
    async with asyncio.timeout(1), database.session() as session:
        session.add(Note(text="others may write"))
    await database.stop()
