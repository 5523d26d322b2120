"""Waiters for a connection are served in their order, whatever becomes of the connections."""

import asyncio
import gc
import threading
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.util import await_only

from fastapi_asyncdb import Database, DatabaseSettings
from fastapi_asyncdb.engine.seam import runs_of
from fastapi_asyncdb.errors import PoolTimeout
from fastapi_asyncdb.pool.fair_pool import FairPool
from tests.support.application import eventually
from tests.support.databases import SERVERS
from tests.support.server_sql import end_session, number_of, sleep

pytestmark = pytest.mark.promise("T18")

# No waiter waits so long: what should happen at once happens long before.
FOREVER = 50.0
SOON = 20.0


@asynccontextmanager
async def limited(url: str, **options: Any) -> AsyncIterator[Database]:
    """Run a database with one connection; after the test it is back, and no task waits."""
    settings = {"pool_size": 1, "max_overflow": 0, "pool_timeout": FOREVER, **options}
    async with Database(DatabaseSettings(url=url, **settings)) as database:
        yield database
        await eventually(lambda: pool_of(database).checkedout() == 0)
        assert pool_of(database).waiting() == 0
        # And there is still a connection to be had.
        async with asyncio.timeout(SOON), database.read_engine.connect() as connection:
            assert await connection.scalar(text("SELECT 1")) == 1


def pool_of(database: Database) -> FairPool:
    """Return the pool of the reading engine, which has the settings' limit on SQLite too."""
    pool = runs_of(database).required().read.pool
    assert isinstance(pool, FairPool)
    return pool


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A handle with one connection."""
    async with limited(database_url) as database:
        yield database


class Line:
    """Those who wait for a connection, and the order in which they were served."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.served: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def join(self, name: str) -> asyncio.Task[None]:
        """Let one more wait."""
        before = pool_of(self.database).waiting()
        task = asyncio.create_task(self._use(name))
        self.tasks.append(task)
        await eventually(lambda: pool_of(self.database).waiting() == before + 1)
        return task

    async def _use(self, name: str) -> None:
        async with self.database.read_engine.connect() as connection:
            self.served.append(name)
            await connection.scalar(text("SELECT 1"))

    async def empty(self) -> None:
        """Wait until all were served, which must not take long."""
        async with asyncio.timeout(SOON):
            await asyncio.gather(*self.tasks)


async def test_waiters_are_served_first_come_first_served(database: Database):
    """The order of coming is the order of being served."""
    line = Line(database)
    names = [str(number) for number in range(10)]
    async with database.read_engine.connect():
        for name in names:
            await line.join(name)
    await line.empty()
    assert line.served == names


async def test_newcomer_does_not_overtake_a_waiter_that_was_woken(database: Database):
    """A connection that comes back belongs to the next in line, before that one could even run."""
    line = Line(database)
    holder = await database.read_engine.connect()
    await line.join("waiter")
    await holder.close()
    async with asyncio.timeout(SOON), database.read_engine.connect():
        line.served.append("newcomer")
    await line.empty()
    assert line.served == ["waiter", "newcomer"]


async def test_free_connection_is_taken_without_a_task(database: Database):
    """The queue costs nothing while it is empty."""
    started: list[object] = []

    def count(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Task[Any]:
        started.append(work)
        return asyncio.Task(work, loop=loop, **options)

    loop = asyncio.get_running_loop()
    await (await database.read_engine.connect()).close()
    loop.set_task_factory(count)
    try:
        connection = await database.read_engine.connect()
    finally:
        loop.set_task_factory(None)
    await connection.close()
    assert started == []


async def test_one_that_has_waited_in_vain_leaves_the_line(database_url: str):
    """The connection goes to the waiter that still waits."""
    async with limited(database_url, pool_timeout=1.0) as database:
        line = Line(database)
        async with database.read_engine.connect():
            first = await line.join("first")
            with pytest.raises(PoolTimeout):
                await first
            await line.join("second")
        line.tasks.remove(first)
        await line.empty()
        assert line.served == ["second"]


async def test_cancelled_waiter_leaves_the_line(database: Database):
    """Those behind it move up."""
    line = Line(database)
    async with database.read_engine.connect():
        first = await line.join("first")
        await line.join("second")
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert pool_of(database).waiting() == 1
    line.tasks.remove(first)
    await line.empty()
    assert line.served == ["second"]


async def test_waiter_in_a_cancel_scope_leaves_the_line(database: Database):
    """AnyIO's scopes count like task.cancel()."""
    line = Line(database)
    async with database.read_engine.connect():
        with anyio.move_on_after(0.1) as scope:
            await database.read_engine.connect()
        assert scope.cancelled_caught
        assert pool_of(database).waiting() == 0
        await line.join("second")
    await line.empty()


async def test_waiter_that_is_cancelled_when_its_turn_comes_hands_it_on(database: Database):
    """It was woken, and is cancelled before it runs: the turn is the next one's."""
    line = Line(database)
    holder = await database.read_engine.connect()
    first = await line.join("first")
    await line.join("second")
    await holder.close()
    assert pool_of(database).waiting() == 1
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    line.tasks.remove(first)
    await line.empty()
    assert line.served == ["second"]


async def _invalidate(connection: AsyncConnection) -> None:
    await connection.invalidate()
    await connection.close()


async def _detach(connection: AsyncConnection) -> None:
    raw = await connection.get_raw_connection()
    driver: Any = raw.driver_connection
    raw.detach()
    await connection.close()
    # SQLAlchemy leaves a detached connection open.
    closing = driver.close()
    if closing is not None:  # in psycopg, asyncpg and aiosqlite it waits
        await closing


@pytest.mark.parametrize("give_up", [AsyncConnection.close, _invalidate, _detach])
async def test_however_a_connection_is_given_up_the_next_is_served(
    database: Database, give_up: Callable[[AsyncConnection], Awaitable[None]]
):
    """Closed, invalidated, taken out of the pool: there is room for another."""
    line = Line(database)
    holder = await database.read_engine.connect()
    await line.join("next")
    await give_up(holder)
    await line.empty()


@pytest.mark.databases(*SERVERS)
async def test_connection_that_the_server_kills_makes_room(database_url: str):
    """The session that has it gets the error, the waiter gets a connection."""
    async with limited(database_url) as database, Database(database.settings) as other:
        line = Line(database)
        holder = await database.read_engine.connect()
        backend = await number_of(holder)
        query = asyncio.create_task(holder.execute(sleep(database, 60)))
        await line.join("next")
        await end_session(other, backend)
        async with asyncio.timeout(SOON):
            with pytest.raises(DBAPIError):
                await query
        await holder.close()
        await line.empty()


async def test_connection_that_cannot_be_made_makes_room(database_url: str):
    """Each waiter tries for itself, and none waits for what will not come."""
    async with limited(database_url, max_overflow=1) as database:
        line = Line(database)
        engine = database.read_engine.sync_engine
        may_fail = asyncio.Event()
        holder = await database.read_engine.connect()

        @event.listens_for(engine, "do_connect")
        def fail(*arguments: Any) -> None:
            await_only(may_fail.wait())
            raise ConnectionRefusedError

        connecting = asyncio.create_task(_use(database.read_engine))
        await eventually(lambda: pool_of(database).checkedout() == 2)
        for name in "abc":
            await line.join(name)
        may_fail.set()
        async with asyncio.timeout(SOON):
            outcomes = await asyncio.gather(connecting, *line.tasks, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [ConnectionRefusedError] * 4
        event.remove(engine, "do_connect", fail)
        async with asyncio.timeout(SOON), database.read_engine.connect():
            pass  # as many as before may be used
        await holder.close()


async def test_connection_beyond_pool_size_makes_room_when_it_is_closed(database_url: str):
    """Two come back at once, and the pool keeps one; the second in line need not wait for that."""
    async with limited(database_url, max_overflow=1) as database:
        line = Line(database)
        both = asyncio.Barrier(2)
        holders = [await database.read_engine.connect() for _ in range(2)]

        async def use() -> None:
            async with database.read_engine.connect():
                await both.wait()  # neither gives its connection back before the other has one

        line.tasks = [asyncio.create_task(use()) for _ in range(2)]
        await eventually(lambda: pool_of(database).waiting() == 2)
        await asyncio.gather(*(holder.close() for holder in holders))
        await line.empty()


@pytest.mark.parametrize("in_thread", [False, True])
async def test_connection_that_the_garbage_collector_finds_makes_room(
    database: Database, in_thread: bool
):
    """The application forgot it; the collector runs in any thread."""
    line = Line(database)
    forgotten = [await database.read_engine.raw_connection()]
    await line.join("next")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is a mistake, and SQLAlchemy says so
        if in_thread:
            await asyncio.to_thread(forgotten.clear)
        else:
            forgotten.clear()
        await line.empty()
        await asyncio.sleep(0.05)
        gc.collect()


@pytest.mark.promise("T10")
async def test_connection_that_the_garbage_collector_finds_is_closed_by_its_own_thread(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
):
    """An event loop and its sockets are for one thread, and asyncpg closes at once."""
    threads: list[threading.Thread] = []
    async with Database(DatabaseSettings(url=postgres_url)) as database:
        forgotten = [await database.engine.raw_connection()]
        adapted: Any = type(forgotten[0].dbapi_connection)
        terminate = adapted.terminate

        def noted(self: Any) -> None:
            threads.append(threading.current_thread())
            terminate(self)

        monkeypatch.setattr(adapted, "terminate", noted)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it is a mistake, and SQLAlchemy says so
            await asyncio.to_thread(forgotten.clear)
        await eventually(lambda: bool(threads))
        assert threads == [threading.current_thread()]
        await asyncio.sleep(0.05)


async def test_those_who_wait_while_the_handle_stops_are_served(database_url: str):
    """Work that had begun may end, that which waits for its connection too."""
    database = Database(
        DatabaseSettings(url=database_url, pool_size=1, max_overflow=0, pool_timeout=FOREVER)
    )
    await database.start()
    line = Line(database)
    engine = database.read_engine
    pool = pool_of(database)
    holder = await engine.connect()
    line.tasks = [asyncio.create_task(_use(engine)) for _ in range(3)]
    await eventually(lambda: pool.waiting() == 3)
    await database.stop()
    await holder.close()
    await line.empty()
    assert pool.waiting() == 0


async def _use(engine: Any) -> None:
    async with engine.connect() as connection:
        await connection.scalar(text("SELECT 1"))


async def test_settings_survive_the_disposal_of_the_engine(database_url: str):
    """SQLAlchemy makes a new pool then, with the same limit and the same messages."""
    async with limited(database_url, pool_timeout=0.1, max_waiting=0) as database:
        old = pool_of(database)
        await database.read_engine.dispose()
        assert pool_of(database) is not old
        async with database.read_engine.connect():
            with pytest.raises(PoolTimeout, match=r"DATABASE_MAX_WAITING.*await db\.commit"):
                await database.read_engine.connect()
