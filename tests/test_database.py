"""The handle: start, stop, event loops, errors."""

import asyncio
import threading
from collections.abc import Awaitable, Callable

import anyio
import pytest
from sqlalchemy import Column, ForeignKey, Integer, MetaData, Table, text
from sqlalchemy.exc import NoReferencedTableError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from fastapi_asyncdb import Database, DatabaseSettings
from fastapi_asyncdb.errors import (
    AutoCreateTablesProductionError,
    ConfigurationError,
    DatabaseNotStarted,
    DatabaseUnavailable,
)
from tests.support.application import checked_out
from tests.support.databases import ONE_DRIVER

pytestmark = pytest.mark.databases(*ONE_DRIVER)


async def ping(database: Database) -> int:
    """Run one statement."""
    async with database.session() as session:
        return await session.scalar(text("SELECT 1")) or 0


async def nobody_is_connected(url: str, application_name: str) -> None:
    """Wait until the server has no connection of that name any more; five seconds are forever."""
    count = text(
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE application_name = :name AND datname = current_database()"
    )
    async with (
        asyncio.timeout(5),
        Database(DatabaseSettings(url=url)) as witness,
        witness.read_session() as session,
    ):
        while await session.scalar(count, {"name": application_name}) != 0:
            await asyncio.sleep(0.01)


def test_repr_shows_the_state_and_no_password(postgres_url: str):
    """The repr is for logs: where, whether started, never the password."""
    url = postgres_url.replace("postgres@", "postgres:pa55word@", 1)
    database = Database(DatabaseSettings(url=url))

    async def started() -> str:
        async with database:
            return repr(database)

    assert repr(database) == "<Database not started>"
    shown = asyncio.run(started())
    assert shown.startswith("<Database postgresql+asyncpg://postgres:***@")
    assert shown.endswith(" started>")
    assert "pa55word" not in shown + repr(vars(database))


@pytest.mark.parametrize(
    "use",
    [
        lambda database: database.engine.connect().start(),
        lambda database: database.read_engine.raw_connection(),
        lambda database: database.engine.dispose(),
        lambda database: AsyncSession(database.engine).execute(text("SELECT 1")),
        lambda database: database.sessionmaker().close(),
    ],
)
async def test_use_before_start_says_how_to_start(use: Callable[[Database], Awaitable[object]]):
    """The error names the lifespan, and that httpx runs none."""
    with pytest.raises(DatabaseNotStarted, match=r"lifespan=.*httpx.*async with database:"):
        await use(Database())


async def test_session_before_start_says_how_to_start():
    """Sessions are refused before start as well."""
    with pytest.raises(DatabaseNotStarted, match="lifespan did not run"):
        await ping(Database())
    with pytest.raises(DatabaseNotStarted):
        async with Database().read_session():
            pass


async def test_environment_is_read_at_start_only(
    monkeypatch: pytest.MonkeyPatch, database_url: str
):
    """A handle made before the variables were set still sees them, and again at the next start."""
    database = Database()
    monkeypatch.setenv("DATABASE_URL", database_url)
    async with database:
        assert database.engine.url.get_backend_name() in database_url
    monkeypatch.setenv("DATABASE_URL", "sqlite://")
    async with database:
        assert database.engine.url.query["mode"] == "memory"


async def test_last_stop_closes(database_url: str):
    """Two users share the engines; the first to stop leaves them to the other."""
    database = Database(DatabaseSettings(url=database_url))
    await database.start()
    engine = database.engine
    await database.start()
    assert database.engine is engine
    await database.stop()
    assert await ping(database) == 1
    await database.stop()
    with pytest.raises(DatabaseNotStarted):
        await ping(database)


async def test_stop_closes_every_connection(postgres_url: str):
    """After stop the server has no client any more."""
    settings = DatabaseSettings(url=postgres_url + "?application_name=stopping")
    count = text(
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE application_name = 'stopping' AND datname = current_database()"
    )
    async with Database(DatabaseSettings(url=postgres_url)) as witness:
        database = Database(settings)
        await database.start()
        await asyncio.gather(*(ping(database) for _ in range(5)))
        async with witness.session() as session:
            assert await session.scalar(count) == 5
        await database.stop()
    await nobody_is_connected(postgres_url, "stopping")


async def test_session_that_outlives_the_stop_closes_its_connection(postgres_url: str):
    """A job that is still at work when the handle stops finishes, and leaves nothing open."""
    database = Database(DatabaseSettings(url=postgres_url + "?application_name=outliving"))
    await database.start()
    async with database.session() as session:
        await session.execute(text("SELECT 1"))
        await database.stop()
        assert await session.scalar(text("SELECT 2")) == 2
    await nobody_is_connected(postgres_url, "outliving")


async def test_stop_once_too_often_does_nothing(database_url: str):
    """A stop without a start, or a second one, is no error and takes nothing from the next start."""
    database = Database(DatabaseSettings(url=database_url))
    await database.stop()
    await database.start()
    await database.stop()
    await database.stop()
    async with database:
        assert await ping(database) == 1


async def test_concurrent_starts_share_one_engine(database_url: str):
    """Two applications that start at the same moment get the same engines."""
    database = Database(DatabaseSettings(url=database_url))
    await asyncio.gather(*(database.start() for _ in range(5)))
    assert await ping(database) == 1
    for _ in range(5):
        assert "not started" not in repr(database)
        await database.stop()
    assert "not started" in repr(database)


def test_start_again_on_another_event_loop(database_url: str):
    """A loop that ended takes nothing with it: the next one starts afresh."""
    database = Database(DatabaseSettings(url=database_url))

    async def run() -> int:
        async with database:
            return await ping(database)

    assert [asyncio.run(run()) for _ in range(3)] == [1, 1, 1]


def test_two_event_loops_at_once(database_url: str):
    """Each running loop has connections of its own."""
    database = Database(DatabaseSettings(url=database_url))
    barrier = threading.Barrier(2, timeout=10)
    results: list[int] = []

    async def run() -> None:
        async with database:
            await asyncio.to_thread(barrier.wait)
            results.extend(await asyncio.gather(*(ping(database) for _ in range(5))))
            await asyncio.to_thread(barrier.wait)

    threads = [threading.Thread(target=asyncio.run, args=(run(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [1] * 10


async def test_use_on_a_loop_that_did_not_start_is_explained(database: Database):
    """Instead of 'attached to a different loop', the error says which step is missing."""

    def elsewhere() -> str:
        with pytest.raises(DatabaseNotStarted) as caught:
            asyncio.run(ping(database))
        return str(caught.value)

    assert "another event loop" in await asyncio.to_thread(elsewhere)


async def test_engine_is_there_for_synchronous_code(database: Database):
    """Code without an event loop may look at the engine, as long as there is only one."""
    name = await asyncio.to_thread(lambda: database.engine.name)
    assert name == database.engine.name


async def test_failed_start_leaves_nothing_and_may_be_repeated(tmp_path):
    """After a failed start the handle is as before."""
    folder = tmp_path / "missing"
    database = Database(DatabaseSettings(url=f"sqlite:///{folder / 'app.db'}"))
    with pytest.raises(DatabaseUnavailable):
        await database.start()
    assert repr(database) == "<Database not started>"
    folder.mkdir()
    async with database:
        assert await ping(database) == 1


async def test_start_that_fails_after_connecting_closes_what_it_opened(postgres_url: str):
    """Tables that cannot be created leave no connection behind."""
    broken = MetaData()
    Table("thing", broken, Column("id", ForeignKey("nowhere.id"), primary_key=True))
    settings = DatabaseSettings(url=postgres_url + "?application_name=failing")
    with pytest.raises(NoReferencedTableError):
        await Database(settings).start(create_tables=broken)
    await nobody_is_connected(postgres_url, "failing")


async def test_cancelled_start_leaves_nothing(unused_port: int):
    """A start that is cancelled while it waits for the server closes what it had opened."""
    database = Database(DatabaseSettings(url=f"postgresql://127.0.0.1:{unused_port}/x"))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await database.start()
    assert repr(database) == "<Database not started>"


async def test_other_settings_while_running_are_refused(database_url: str):
    """One handle is one database: other settings need another handle, or a stop."""
    database = Database(DatabaseSettings(url=database_url))
    other = DatabaseSettings(url=database_url, pool_size=1)
    async with database:
        with pytest.raises(ConfigurationError, match="second Database"):
            await database.start(other)
        assert await ping(database) == 1
    await database.start(other)
    await database.stop()


async def test_handle_is_the_context_manager(database_url: str):
    """'async with Database(...) as database' hands out the handle, and stops it on an exception."""
    database = Database(DatabaseSettings(url=database_url))
    with pytest.raises(RuntimeError):
        async with database as handle:
            assert handle is database
            raise RuntimeError
    assert repr(database) == "<Database not started>"


class CountingSync(Session):
    """A user's own session underneath."""


class CountingSession(AsyncSession):
    """A user's own session class."""

    sync_session_class = CountingSync
    executed = 0

    async def execute(self, *args, **kwargs):
        self.executed += 1
        return await super().execute(*args, **kwargs)


async def test_own_session_class_is_used(database_url: str):
    """Sessions are instances of the user's class, its synchronous part included."""
    database = Database(DatabaseSettings(url=database_url), session_class=CountingSession)
    async with database, database.session() as session:
        assert isinstance(session, CountingSession)
        assert isinstance(session.sync_session, CountingSync)
        await session.execute(text("SELECT 1"))
        assert session.executed == 1


def some_tables() -> MetaData:
    """Return twenty tables: enough for a race."""
    metadata = MetaData()
    for number in range(20):
        Table(f"thing_{number}", metadata, Column("id", Integer, primary_key=True))
    return metadata


async def test_tables_are_created_by_many_processes_at_once(database_url: str):
    """Workers that start together all create the tables, and none fails in the race."""
    handles = [Database(DatabaseSettings(url=database_url)) for _ in range(8)]
    # Connected already, so that all of them look for the tables at the same moment.
    await asyncio.gather(*(handle.start() for handle in handles))
    await asyncio.gather(*(handle.start(create_tables=some_tables()) for handle in handles))
    async with handles[0].session() as session:
        assert (await session.execute(text("SELECT * FROM thing_19"))).all() == []
    for handle in handles:
        await handle.stop()
        await handle.stop()


async def test_tables_are_not_created_in_production(database_url: str):
    """Production says no before anything is opened, and says what to do instead."""
    settings = DatabaseSettings(url=database_url, environment="production")
    database = Database(settings)
    with pytest.raises(AutoCreateTablesProductionError, match="migrations"):
        await database.start(create_tables=some_tables())
    assert repr(database) == "<Database not started>"
    async with database:
        with pytest.raises(AutoCreateTablesProductionError):
            await database.start(create_tables=some_tables())
        assert await ping(database) == 1


@pytest.mark.parametrize("kind", ["task", "scope"])
async def test_stop_is_finished_although_it_is_cancelled(postgres_url: str, kind: str):
    """A shutdown that is cut short still closes every connection."""
    database = Database(DatabaseSettings(url=postgres_url + "?application_name=cut"))
    await database.start()
    assert await ping(database) == 1
    if kind == "task":
        task = asyncio.create_task(database.stop())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        with anyio.move_on_after(0):
            await database.stop()
    assert repr(database) == "<Database not started>"
    await nobody_is_connected(postgres_url, "cut")


async def test_failed_block_gives_its_connection_back(database: Database):
    """Whatever a block raises, no connection stays in use."""
    for error in (RuntimeError, KeyboardInterrupt, asyncio.CancelledError):
        with pytest.raises(error):
            async with database.session() as session:
                await session.execute(text("SELECT 1"))
                raise error
    assert checked_out(database) == 0
