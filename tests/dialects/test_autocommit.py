"""Engines whose connections come with options."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.util import await_only

from fastapi_asyncdb import Database, DatabaseSettings
from fastapi_asyncdb.dialects.autocommit import with_connection_options
from fastapi_asyncdb.engine.seam import runs_of
from tests.support.application import checked_out
from tests.support.cancelling import FOREVER, Cancellable

ISOLATION = text("SELECT current_setting('transaction_isolation')")


@pytest.fixture
async def engine(driver_url: str) -> AsyncIterator[AsyncEngine]:
    """A plain engine with one connection."""
    engine = create_async_engine(driver_url, pool_size=1, max_overflow=0, pool_timeout=0.1)
    yield engine
    await engine.dispose()


async def shares_a_transaction(connection: AsyncConnection) -> bool:
    """Tell whether two statements run in one transaction."""
    numbers = {await connection.scalar(text("SELECT txid_current()")) for _ in range(2)}
    return len(numbers) == 1


async def test_each_connection_has_them_and_gives_them_back(engine: AsyncEngine):
    """The engine that it was made from shares its pool, and none of its options."""
    own = with_connection_options(engine, isolation_level="AUTOCOMMIT")
    for _ in range(2):
        async with own.connect() as connection:
            assert not await shares_a_transaction(connection)
        async with engine.connect() as connection:
            assert await shares_a_transaction(connection)


async def test_execution_options_of_it_have_them_too(engine: AsyncEngine):
    """A further option keeps these, and may replace one of them."""
    own = with_connection_options(engine, isolation_level="AUTOCOMMIT")
    async with own.execution_options(logging_token="mine").connect() as connection:
        assert not await shares_a_transaction(connection)
    serial = own.execution_options(isolation_level="SERIALIZABLE")
    async with serial.execution_options(logging_token="mine").connect() as connection:
        assert await shares_a_transaction(connection)
        assert await connection.scalar(ISOLATION) == "serializable"


async def test_no_listener_is_left(engine: AsyncEngine):
    """One would make SQLAlchemy look for listeners at each step of each statement."""
    own = with_connection_options(engine, isolation_level="AUTOCOMMIT")
    assert list(own.sync_engine.dispatch.engine_connect) == []
    sqlalchemys = engine.execution_options(isolation_level="AUTOCOMMIT")
    assert len(list(sqlalchemys.sync_engine.dispatch.engine_connect)) == 1


async def test_connection_whose_options_are_wrong_is_given_back(engine: AsyncEngine):
    """The error is the database's, and the pool has its connection again."""
    with pytest.raises(ArgumentError):
        await with_connection_options(engine, isolation_level="NONE SUCH").connect()
    async with engine.connect() as connection:
        assert await connection.scalar(text("SELECT 1")) == 1


async def test_connection_whose_options_are_cancelled_is_given_back(driver_url: str):
    """An AnyIO scope cancels again what awaits in it: the connection is discarded, without a reset."""
    settings = DatabaseSettings(url=driver_url, pool_size=1, max_overflow=0, pool_timeout=0.1)
    async with Database(settings) as database:
        engine = database.read_engine
        reached = asyncio.Event()

        def hang(*_: object) -> None:
            reached.set()
            await_only(asyncio.sleep(FOREVER))

        def suspend(*_: object) -> None:
            await_only(asyncio.sleep(0))

        dialect = runs_of(database).required().read.dialect
        set_level = dialect.set_isolation_level
        dialect.set_isolation_level = hang  # type: ignore[assignment,method-assign]
        event.listen(engine.sync_engine, "reset", suspend)
        run = Cancellable(engine.connect, "scope")
        run.start()
        await reached.wait()
        await run.cancel()
        assert checked_out(database) == 0
        dialect.set_isolation_level = set_level  # type: ignore[method-assign]
        async with engine.connect() as connection:
            assert await connection.scalar(text("SELECT 1")) == 1
