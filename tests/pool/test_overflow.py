"""Connections beyond ``pool_size`` stay open for a while; old connections are replaced one by one."""

import asyncio
import gc
import math
import re
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from weakref import ref

import pytest
from sqlalchemy import event, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from fastapi_asyncdb import Database, DatabaseSettings
from fastapi_asyncdb.engine.late.engine import LateEngine
from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.pool.fair_pool import FairPool
from fastapi_asyncdb.pool.idle import IdleConnections, OverflowTimer
from tests.support.application import eventually

SIZE, OVERFLOW = 1, 3
EXPIRES = "fastapi_asyncdb.expires"


def settings_for(url: str, overflow_idle: float, recycle: float = 3600.0) -> DatabaseSettings:
    """Settings of a pool that keeps one connection and may open three more."""
    return DatabaseSettings(
        url=url,
        pool_size=SIZE,
        max_overflow=OVERFLOW,
        pool_overflow_idle=overflow_idle,
        pool_recycle=recycle,
    )


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A started ``Database`` whose overflow connections may be idle for long."""
    async with Database(settings_for(database_url, 60.0)) as database:
        yield database


def pool_of(engine: AsyncEngine) -> FairPool:
    """Return the pool of an engine, or of the engine that it stands for."""
    sync_engine = engine.sync_engine
    if isinstance(sync_engine, LateEngine):
        sync_engine = sync_engine.required()
    assert isinstance(sync_engine.pool, FairPool)
    return sync_engine.pool


class Connections:
    """The connections that an engine has opened and closed."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.opened: list[DBAPIConnection] = []
        self.closed: list[DBAPIConnection] = []
        event.listen(engine.sync_engine, "connect", self._open)
        event.listen(engine.sync_engine, "close", self._close)

    def _open(self, connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        self.opened.append(connection)

    def _close(self, connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        self.closed.append(connection)


async def use(engine: AsyncEngine, number: int) -> list[DBAPIConnection]:
    """Check so many connections out at the same time; return them in the order of their checkin."""
    async with AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(engine.connect()) for _ in range(number)]
        for connection in connections:
            assert await connection.scalar(text("SELECT 1")) == 1
        return [await _raw(connection) for connection in reversed(connections)]


async def _raw(connection: AsyncConnection) -> DBAPIConnection:
    raw = (await connection.get_raw_connection()).dbapi_connection
    assert raw is not None
    return raw


async def test_overflow_connections_are_used_again(database: Database):
    """A burst of requests opens them once, and the next one finds them."""
    engine = database.read_engine
    connections = Connections(engine)
    before = pool_of(engine).checkedin()
    for _ in range(5):
        await use(engine, SIZE + OVERFLOW)
    assert len(connections.opened) + before == SIZE + OVERFLOW
    assert connections.closed == []


async def test_numbers_of_sqlalchemys_pool_keep_their_meaning(database: Database):
    """``size``, ``overflow``, ``checkedin``, ``checkedout`` and ``status`` count what is open."""
    pool = pool_of(database.read_engine)
    await use(database.read_engine, SIZE + OVERFLOW)
    assert (pool.size(), pool.overflow()) == (SIZE, OVERFLOW)
    assert (pool.checkedin(), pool.checkedout()) == (SIZE + OVERFLOW, 0)
    async with database.read_engine.connect():
        assert (pool.checkedin(), pool.checkedout()) == (SIZE + OVERFLOW - 1, 1)
    assert re.findall(r"-?\d+", pool.status()) == ["1", "4", "3", "0"]


async def test_idle_overflow_is_closed_after_a_while(database_url: str):
    """``pool_size`` connections stay: those that were used last."""
    async with Database(settings_for(database_url, 0.05)) as database:
        pool = pool_of(database.read_engine)
        connections = Connections(database.read_engine)
        used = await use(database.read_engine, SIZE + OVERFLOW)
        await eventually(lambda: not pool.overflow() > 0 and not pool.closing)
        assert connections.closed == used[:OVERFLOW]
        assert await use(database.read_engine, 1) == used[OVERFLOW:]


async def test_overflow_in_use_is_not_closed(database_url: str):
    """The timer looks at idle connections only; the others follow when they are checked in."""
    async with Database(settings_for(database_url, 0.0)) as database:
        engine = database.read_engine
        pool = pool_of(engine)
        async with engine.connect() as first, engine.connect() as second:
            await use(engine, 2)
            await eventually(lambda: pool.checkedin() == 0 and not pool.closing)
            for connection in (first, second):
                assert await connection.scalar(text("SELECT 1")) == 1
        await eventually(lambda: pool.checkedin() == SIZE and not pool.closing)


@pytest.mark.databases("postgresql-asyncpg", "postgresql-psycopg")
async def test_server_sees_that_they_are_closed(database_url: str):
    """Not only the pool forgets them."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'fastapi_asyncdb' AND "
    # The driver may have left a connection of another test that was cancelled while it connected.
    query += "datname = current_database() AND backend_start > :started"
    started = {"started": datetime.now(UTC)}
    async with Database(settings_for(database_url, 0.05)) as database:
        await use(database.engine, SIZE + OVERFLOW)
        async with asyncio.timeout(20), database.read_engine.connect() as connection:
            while await connection.scalar(text(query), started) != 1:
                await asyncio.sleep(0.01)


async def test_stop_leaves_no_timer(database_url: str):
    """A timer that is left would keep the pool and its event loop for as long as it runs."""
    database = Database(settings_for(database_url, 3600.0))
    async with database:
        await use(database.read_engine, SIZE + OVERFLOW)
        pool = ref(pool_of(database.read_engine))
    gc.collect()
    assert pool() is None


async def test_stop_waits_for_connections_that_are_being_closed(database_url: str):
    """What the timer has begun is finished before the event loop may be closed."""
    async with Database(settings_for(database_url, 0.0)) as database:
        pool = pool_of(database.read_engine)
        await use(database.read_engine, SIZE + OVERFLOW)
        await eventually(lambda: bool(pool.closing) or pool.overflow() == 0)
    assert not pool.closing


async def test_connection_whose_close_listener_raises_is_closed(
    database_url: str, caplog: pytest.LogCaptureFixture
):
    """A broken listener of the application costs neither a connection nor the timer."""
    async with Database(settings_for(database_url, 0.0)) as database:
        engine = database.read_engine
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)

        def fail(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
            raise RuntimeError("the listener is broken")

        event.listen(engine.sync_engine, "close", fail)
        await use(engine, 2)
        await eventually(lambda: pool_of(engine).overflow() == 0 and not pool_of(engine).closing)
        event.remove(engine.sync_engine, "close", fail)
        await use(engine, SIZE + OVERFLOW)


def test_timer_of_a_closed_event_loop_is_replaced():
    """It is gone with its loop; a checkin on another loop starts a new one."""
    looks: list[int] = []

    def has_overflow() -> bool:
        looks.append(1)
        return False

    timer = OverflowTimer(60.0, IdleConnections(), has_overflow, lambda record: None)

    async def start() -> None:
        timer.start()

    async def start_and_wait() -> None:
        timer.seconds = 0.0
        timer.start()
        await eventually(lambda: bool(looks))

    asyncio.run(start())
    assert looks == []
    asyncio.run(start_and_wait())


async def test_pool_without_a_limit_closes_its_overflow(tmp_path: Path):
    """SQLAlchemy's ``max_overflow=-1`` for engines of one's own."""
    engine = create_async_engine(
        f"sqlite+aiosqlite:///{tmp_path}/unlimited.db",
        poolclass=FairPool,
        pool_size=2,
        max_overflow=-1,
        overflow_idle=0.05,
    )
    await use(engine, 20)
    await eventually(lambda: pool_of(engine).checkedin() == 2)
    # Their threads call the event loop; `engine.dispose()` waits for the two idle connections alone.
    await eventually(lambda: not pool_of(engine).closing)
    await engine.dispose()


async def test_replaced_pool_has_the_same_settings(database_url: str):
    """``engine.dispose()`` makes a new pool, in which overflow is closed after the same time."""
    async with Database(settings_for(database_url, 0.05)) as database:
        await database.read_engine.dispose()
        await use(database.read_engine, SIZE + OVERFLOW)
        await eventually(lambda: pool_of(database.read_engine).checkedin() == SIZE)


async def test_connections_expire_at_different_times(database_url: str):
    """Connections that a burst has opened do not all reconnect in the same moment an hour later."""
    began = time.monotonic()
    async with Database(settings_for(database_url, 60.0, recycle=3600.0)) as database:
        expiries = await _expiries(database.read_engine)
        took = time.monotonic() - began
    assert took < max(expiries) - min(expiries) < 360 + took
    assert all(0.9 * 3600 <= expiry - began <= 3600 + took for expiry in expiries)


async def _expiries(engine: AsyncEngine) -> list[float]:
    async with AsyncExitStack() as stack:
        connections = [
            await stack.enter_async_context(engine.connect()) for _ in range(SIZE + OVERFLOW)
        ]
        return [(await each.get_raw_connection()).info[EXPIRES] for each in connections]


async def test_expired_connection_is_replaced_at_checkout(database: Database):
    """Only that one; it gets a new age."""
    engine = database.read_engine
    used = await use(engine, 2)
    connections = Connections(engine)
    async with engine.connect() as connection:
        (await connection.get_raw_connection()).info[EXPIRES] = -math.inf
    await use(engine, 2)
    assert len(connections.opened) == 1
    assert connections.closed == used[-1:]
    await use(engine, 2)
    assert len(connections.opened) == 1


async def test_connections_are_replaced_after_pool_recycle(database_url: str):
    """Soon, if the setting says so."""
    async with Database(settings_for(database_url, 60.0, recycle=0.01)) as database:
        connections = Connections(database.read_engine)

        async def is_replaced() -> bool:
            await use(database.read_engine, 1)
            return len(connections.closed) > 1

        async with asyncio.timeout(20):
            while not await is_replaced():
                await asyncio.sleep(0.02)


def test_negative_time_is_refused():
    """A negative number of seconds means nothing."""
    with pytest.raises(ConfigurationError, match="pool_overflow_idle"):
        DatabaseSettings(pool_overflow_idle=-1)
