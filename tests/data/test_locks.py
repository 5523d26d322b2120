"""An advisory lock belongs to one transaction at a time, and ends with it."""

import asyncio
from contextlib import closing
from typing import Any

import pytest
from sqlalchemy import MetaData, func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from fastapi_asyncdb import Database, advisory_lock, try_advisory_lock
from fastapi_asyncdb.dialects import rejection_of
from fastapi_asyncdb.errors import ConfigurationError, ReadOnlySession
from fastapi_asyncdb.testing import sandbox
from tests.data.goods import Product
from tests.support.application import checked_out
from tests.support.cancelling import Cancellable, Witness
from tests.support.databases import MARIADB
from tests.support.kept_mysql_tables import connect

POSTGRESQL = pytest.mark.databases(
    "postgresql-asyncpg",
    "postgresql-psycopg",
    "postgresql-asyncpg-pooled",
    "postgresql-psycopg-pooled",
)


MYSQL = pytest.mark.databases(*MARIADB)
SERVERS: pytest.MarkDecorator = pytest.mark.databases(*POSTGRESQL.args, *MARIADB)


@pytest.mark.databases("sqlite", *SERVERS.args)
async def test_one_at_a_time(database: Database):
    """Of many transactions one works, until its end."""
    working: list[int] = []

    async def work(number: int) -> None:
        async with database.session() as session:
            await advisory_lock(session, "nightly job")
            await advisory_lock(session, "nightly job")  # the same transaction has it already
            working.append(number)
            await session.execute(text("SELECT 1"))
            await asyncio.sleep(0)
            assert working == [number]
            working.remove(number)

    async with asyncio.timeout(20):
        await asyncio.gather(*map(work, range(8)))


@SERVERS
@pytest.mark.parametrize("key", ["job", 7, -(2**63), 2**63 - 1, "\u00fc \U0001f600"])
async def test_try_tells_whether_it_is_free(database: Database, key: str | int):
    """Another key is another lock; a commit and a rollback end it."""
    async with database.session() as one, database.session() as other:
        assert await try_advisory_lock(one, key)
        assert await try_advisory_lock(one, key)  # once is enough to release it
        assert not await try_advisory_lock(other, key)
        assert await try_advisory_lock(other, "another")
        await one.commit()
        assert await try_advisory_lock(other, key)
        await other.rollback()
        assert await try_advisory_lock(one, key)


async def test_sqlite_has_one_lock(database: Database):
    """A transaction that may write has it, whatever the key."""
    if database.engine.dialect.name == "sqlite":
        async with database.session() as session:
            assert await try_advisory_lock(session, "any")
            assert await try_advisory_lock(session, 1)


@pytest.mark.databases("sqlite")
async def test_sqlite_engines_of_others(database: Database):
    """A plain session takes the lock of the file, also if its transaction has begun without."""
    engine = create_async_engine(database.engine.url, connect_args={"timeout": 0.1})
    async with AsyncSession(engine) as one, AsyncSession(engine) as other:
        await one.execute(text("SELECT 1"))
        await advisory_lock(one, "job")
        with pytest.raises(DBAPIError, match="locked"):
            await advisory_lock(other, "job")
        await other.rollback()
        await one.commit()
        await other.execute(text("BEGIN"))
        await advisory_lock(other, "job")
        with pytest.raises(DBAPIError, match="locked"):
            await advisory_lock(one, "job")
    await engine.dispose()


@POSTGRESQL
async def test_other_programs_can_take_the_same_lock(database: Database):
    """A string is the server's hash of it."""
    async with database.session() as one, database.session() as other:
        await advisory_lock(one, "job")
        query = text("SELECT pg_try_advisory_xact_lock(hashtextextended('job', 0))")
        assert (await other.execute(query)).scalar_one() is False


@MYSQL
async def test_names_on_mysql(database: Database):
    """The server's hash of a string and of an integer, each with the name of the database."""
    async with database.session() as one, database.session() as other:
        for key, mark in (("job", " "), (7, "#")):
            await advisory_lock(one, key)
            name = f"SHA2(CONCAT(DATABASE(), '{mark}', '{key}'), 256)"
            assert await other.scalar(text(f"SELECT IS_FREE_LOCK({name})")) == 0
        assert await try_advisory_lock(other, "7")
        await one.rollback()
        assert await other.scalar(text(f"SELECT IS_FREE_LOCK({name})")) == 1


@MYSQL
async def test_mysql_releases_after_the_commit(database: Database, tables: MetaData):
    """Who gets the lock next sees what was written under it."""
    seen: list[int] = []

    async def write() -> None:
        async with database.session() as session:
            await advisory_lock(session, "job")
            count = select(func.count()).select_from(Product)
            seen.append(await session.scalar(count) or 0)
            session.add(Product(sku=f"s{seen[-1]}"))

    async with asyncio.timeout(20):
        await asyncio.gather(*(write() for _ in range(12)))
    assert seen == list(range(12))


@MYSQL
async def test_a_lost_connection_has_no_lock(database: Database):
    """Also if the release itself fails: then the connection is closed."""
    with pytest.raises(DBAPIError):
        async with database.session() as one:
            await advisory_lock(one, "job")
            number = await one.scalar(text("SELECT CONNECTION_ID()"))
            async with database.session() as other:
                await other.execute(text(f"KILL {number}"))
            await one.commit()
    async with asyncio.timeout(10), database.session() as session:
        await advisory_lock(session, "job")


@SERVERS
async def test_lock_timeout_applies(database: Database):
    """The wait ends with the code of a lock that is not available."""
    seconds = 0.05 if database.engine.dialect.name == "postgresql" else 1
    async with database.session() as one:
        await advisory_lock(one, "job")
        with pytest.raises(DBAPIError) as caught:
            async with database.session(lock_timeout=seconds) as other:
                await advisory_lock(other, "job")
    rejection = rejection_of(caught.value)
    assert rejection is not None
    assert (rejection.kind, rejection.code) in {("lock timeout", "55P03"), ("lock timeout", "1205")}


async def until_one_waits(witness: Witness) -> None:
    """Wait until a backend of the application waits for an advisory lock."""
    if witness.database.engine.dialect.name == "postgresql":
        await witness.until("wait_event = 'advisory'")
        return
    query = (
        "SELECT 1 FROM information_schema.processlist WHERE db = DATABASE() AND state = 'User lock'"
    )
    with closing(connect(witness.url)) as connection, connection.cursor() as cursor:
        while not cursor.execute(query):
            await asyncio.sleep(0.01)


@pytest.mark.databases("postgresql-asyncpg", "postgresql-psycopg", *MARIADB)
@pytest.mark.parametrize("how", ["task", "scope"])
async def test_cancelled_wait(database_url: str, database: Database, how: str):
    """The one that waits goes, and its connection does not keep the lock."""

    async def wait() -> None:
        async with database.session() as session:
            await advisory_lock(session, "job")

    async with database.session() as one:
        await advisory_lock(one, "job")
        run = Cancellable(wait, how)
        run.start()
        witness = Witness(database, database_url)
        async with asyncio.timeout(10):
            await until_one_waits(witness)
            await run.cancel()
    assert checked_out(database) == 0
    async with database.session() as session:
        assert await try_advisory_lock(session, "job")


async def test_sessions_that_cannot_keep_it(database: Database):
    """Reading in autocommit; on a server any autocommit."""
    async with database.read_session() as session:
        with pytest.raises(ReadOnlySession, match="Use DB instead of ReadDB"):
            await advisory_lock(session, "job")
        with pytest.raises(ReadOnlySession):
            await try_advisory_lock(session, "job")
    if database.engine.dialect.name != "sqlite":
        engine = create_async_engine(database.engine.url, isolation_level="AUTOCOMMIT")
        async with AsyncSession(engine) as session:
            with pytest.raises(ConfigurationError, match="autocommit"):
                await advisory_lock(session, "job")
        await engine.dispose()
    async with database.session() as session:
        engine = create_async_engine(database.engine.url)
        engine.dialect.name = "oracle"
        session.bind = engine
        other: Any = AsyncSession(engine)
        with pytest.raises(ConfigurationError, match="not supported on oracle"):
            await advisory_lock(other, "job")


async def test_keys(database: Database):
    """Strings, and integers of 64 bits; no others."""
    wrong: Any = (b"job", 1.5, True, None)
    async with database.session() as session:
        for key in wrong:
            with pytest.raises(TypeError, match="Give a string or an integer"):
                await advisory_lock(session, key)
        with pytest.raises(ValueError, match="more than 64 bits"):
            await try_advisory_lock(session, 2**63)


async def test_in_a_sandbox(database: Database):
    """Sessions share its connection, and so each lock; nothing waits forever."""
    async with sandbox(database):
        for _ in range(2):
            async with database.session() as session:
                await advisory_lock(session, "job")
                assert await try_advisory_lock(session, "job")
