"""``database.sessionmaker``: managed sessions for libraries that want an ``async_sessionmaker``."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.util import await_only

from fastapi_asyncdb import Database, DatabaseSettings, on_commit
from fastapi_asyncdb.errors import (
    ConcurrentSessionUse,
    ConfigurationError,
    DatabaseNotStarted,
    DatabaseStopping,
)
from fastapi_asyncdb.testing import sandbox
from tests.support.application import Base, Note, stored, with_tables


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A started ``Database`` with tables."""
    async with with_tables(database_url, Base.metadata) as database:
        yield database


async def test_commits_when_told_only(database: Database):
    """A block rolls back what was not committed; a block of ``begin()`` commits. Hooks run."""
    make, hooks = database.sessionmaker, list[str]()
    async with make() as session:
        session.add(Note(text="left"))
        await session.flush()
    async with make() as session:
        session.add(Note(text="committed"))
        on_commit(session, hooks.append, "committed")
        await session.commit()
        session.add(Note(text="left"))
        on_commit(session, hooks.append, "left")
    async with make.begin() as session:
        session.add(Note(text="begun"))
        on_commit(session, hooks.append, "begun")
    assert await stored(database) == ["committed", "begun"]
    assert hooks == ["committed", "begun"]


async def test_is_an_async_sessionmaker_of_ones_own_class(database_url: str):
    """What libraries check; each access gives a new one, which a library may configure for itself."""

    class Own(AsyncSession):
        pass

    database = Database(DatabaseSettings(url=database_url), session_class=Own)
    make = database.sessionmaker
    make.configure(autoflush=False)
    assert isinstance(make, async_sessionmaker)
    assert issubclass(make.class_, Own)
    async with database, make() as session, database.sessionmaker(info={"a": 1}) as other:
        assert isinstance(session, Own)
        assert (session.autoflush, other.autoflush) == (False, True)
        assert (session.sync_session.expire_on_commit, other.info) == (False, {"a": 1})


async def test_session_is_for_one_task_at_a_time(database: Database):
    """The guard of all sessions of the library."""
    async with database.sessionmaker() as session:
        held = asyncio.create_task(session.run_sync(lambda _: await_only(asyncio.sleep(0.05))))
        await asyncio.sleep(0)
        with pytest.raises(ConcurrentSessionUse):
            await session.connection()
        await held


async def test_before_the_start_and_after_the_stop(database_url: str):
    """A session that outlives a stop is refused, until the next start."""
    database = Database(DatabaseSettings(url=database_url))
    make = database.sessionmaker
    with pytest.raises(DatabaseNotStarted, match="lifespan did not run"):
        make()
    async with database:
        session = make()
        await session.connection()
        await session.close()
    with pytest.raises(DatabaseNotStarted):
        await session.connection()
    async with database:
        await session.connection()
        await session.close()


async def test_stop_waits_for_transactions_only(database: Database):
    """A session without one holds no stop up: it may stay open."""
    await database.start()
    flushed, release, never = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        session = database.sessionmaker()
        session.add(Note(text="in time"))
        await session.flush()
        flushed.set()
        await release.wait()
        await session.commit()
        await never.wait()

    async def stop() -> None:
        await database.stop()
        await database.stop()

    worker = asyncio.create_task(work())
    await flushed.wait()
    stopping = asyncio.create_task(stop())
    with pytest.raises(DatabaseStopping):
        while True:
            await asyncio.sleep(0)
            database.sessionmaker()
    release.set()
    await stopping
    assert not worker.done()
    never.set()
    await worker
    await database.start()
    assert await stored(database) == ["in time"]


async def test_sandbox_governs_sessions_from_before(database: Database):
    """A session takes the engine at the begin of each transaction."""
    make = database.sessionmaker
    before = make()
    await before.connection()
    await before.close()
    async with sandbox(database):
        before.add(Note(text="undone"))
        await before.commit()
        async with make.begin() as session:
            session.add(Note(text="undone"))
        assert await stored(database) == ["undone", "undone"]
    assert await stored(database) == []
    before.add(Note(text="stored"))
    await before.commit()
    assert await stored(database) == ["stored"]


async def test_other_binds_are_refused(database: Database):
    """They would leave the pool, the sandbox and the stop out."""
    async with database.engine.connect() as connection:
        with pytest.raises(ConfigurationError, match="async_sessionmaker"):
            database.sessionmaker(bind=connection)
    make = database.sessionmaker
    make.configure(binds={Note: database.engine})
    with pytest.raises(ConfigurationError, match="async_sessionmaker"):
        make()


async def test_first_step_is_taken(database_url: str):
    """``on_begin`` is for each transaction of each session, as a tenant's filter has to be."""
    begun: list[object] = []

    async def on_begin(session: AsyncSession, connection: object) -> None:
        begun.append(connection)

    database = Database(DatabaseSettings(url=database_url), on_begin=on_begin)
    async with database, database.sessionmaker() as session:
        for _ in range(2):
            await session.connection()
            await session.commit()
    assert begun == [None, None]
