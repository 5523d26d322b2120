"""``ping()``: an answer of the database on a connection of its own, in bounded time."""

import asyncio
import logging
from typing import Any

import pytest
from sqlalchemy import event, text

from fastapi_asyncdb import Database, DatabaseSettings
from fastapi_asyncdb.engine import probe
from fastapi_asyncdb.errors import DatabaseNotStarted, DatabaseUnavailable, PoolTimeout
from fastapi_asyncdb.testing import sandbox
from tests.support.application import eventually
from tests.support.databases import EVERY_KIND, execute
from tests.support.leaks import PASSWORD, leaks
from tests.support.tcp_proxy import Proxy

NAME = "probing"


def settings(url: str, **options: Any) -> DatabaseSettings:
    """Return settings whose connections can be told from others on PostgreSQL."""
    named = url if url.startswith("sqlite") else f"{url}?application_name={NAME}"
    return DatabaseSettings(url=named, **options)


async def connections(url: str) -> int:
    """Count the connections of that name."""
    count = text(
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND application_name = :name"
    )
    async with Database(DatabaseSettings(url=url)) as witness, witness.read_session() as session:
        return await session.scalar(count, {"name": NAME}) or 0


@pytest.mark.databases(*EVERY_KIND)
async def test_database_answers(database: Database):
    """With the seconds that it took, in a sandbox too."""
    assert 0 < await database.ping() < 60
    async with sandbox(database):
        assert await database.ping() > 0


async def test_full_pool_does_not_matter(database_url: str):
    """The ping is not in the pool's queue, where it would be refused at once."""
    one = DatabaseSettings(url=database_url, pool_size=1, max_overflow=0, max_waiting=0)
    async with Database(one) as database, database.session() as session:
        await session.execute(text("SELECT 1"))
        with pytest.raises(PoolTimeout):
            async with database.session() as second:
                await second.execute(text("SELECT 1"))
        assert await database.ping() > 0


async def test_many_pings_at_once_are_one(driver_url: str):
    """A hundred callers share a statement; the connection is kept for the next one."""
    async with Database(settings(driver_url)) as database:
        await database.ping()
        assert await connections(driver_url) == 2  # the pool's first, and this
        statements: list[str] = []
        engine = database._runs._by_loop[asyncio.get_running_loop()].probe._engine  # type: ignore[union-attr]
        event.listen(
            engine.sync_engine,  # type: ignore[union-attr]
            "before_cursor_execute",
            lambda *arguments: statements.append(arguments[2]),
        )
        await asyncio.gather(*(database.ping() for _ in range(100)))
        assert statements == ["SELECT 1"]
        assert await connections(driver_url) == 2


async def test_connection_is_closed_after_idling(driver_url: str, monkeypatch: pytest.MonkeyPatch):
    """One that is not used keeps no place on the server."""
    monkeypatch.setattr(probe, "IDLE", 0.1)
    async with Database(settings(driver_url)) as database:
        await database.ping()
        async with asyncio.timeout(10):
            while await connections(driver_url) > 1:
                await asyncio.sleep(0.01)
        assert await database.ping() > 0


async def test_stop_closes_the_connection(driver_url: str):
    """Also while a ping waits for an answer."""
    async with Database(settings(driver_url)) as database:
        await database.ping()
    async with asyncio.timeout(5):
        while await connections(driver_url):
            await asyncio.sleep(0.01)


async def test_lost_connection_is_replaced(driver_url: str):
    """A server that was restarted between two pings is available."""
    async with Database(settings(driver_url)) as database:
        await database.ping()
        await execute(
            driver_url.replace("+asyncpg", "").replace("+psycopg", ""),
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            f"WHERE datname = current_database() AND application_name = '{NAME}'",
        )
        assert await database.ping() > 0


async def test_server_that_is_down_is_diagnosed(unused_port: int, driver: str):
    """The error has the cause and the next step, and no password."""
    server = f"127.0.0.1:{unused_port}"
    database = Database(DatabaseSettings(url=f"postgresql+{driver}://app:{PASSWORD}@{server}/app"))
    await database.start(require_connection=False)
    with pytest.raises(DatabaseUnavailable, match=r"is not available: .*Nothing listens") as caught:
        await database.ping()
    assert "***" in str(caught.value)
    assert leaks(caught.value) == []
    await database.stop()


async def test_silent_server_is_given_up(proxy: Proxy, driver_url: str):
    """In the caller's time, by each caller, and the stop does not wait for the answer."""
    host, _, rest = driver_url.rpartition(":")
    url = f"{host}:{proxy.port}/{rest.partition('/')[2]}"
    async with Database(DatabaseSettings(url=url, connect_timeout=2)) as database:
        await database.ping()
        proxy.silent = True
        for _ in range(2):
            with pytest.raises(DatabaseUnavailable, match=r"no answer within 0\.1 s"):
                await database.ping(timeout=0.1)
        with pytest.raises(DatabaseUnavailable):
            await database.ping(timeout=60)
        proxy.silent = False


async def test_caller_that_is_cancelled_leaves_the_others(driver_url: str):
    """The ping that they share goes on."""
    async with Database(settings(driver_url)) as database:
        first, second = (asyncio.create_task(database.ping()) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        assert await second > 0
        await eventually(first.cancelled)


def test_each_event_loop_has_a_connection_of_its_own(database_url: str):
    """Connections cannot move to another loop."""
    database = Database(DatabaseSettings(url=database_url))

    async def run() -> float:
        async with database:
            return await database.ping()

    assert all(asyncio.run(run()) > 0 for _ in range(2))


async def test_database_that_is_not_started_says_so():
    """As for everything else that needs a connection."""
    with pytest.raises(DatabaseNotStarted):
        await Database().ping()


async def test_file_that_is_no_database_is_noticed(tmp_path: Any, caplog: pytest.LogCaptureFixture):
    """SQLite's "SELECT 1" would not look into the file."""
    file = tmp_path / "broken.db"
    file.write_bytes(b"no database, and long enough to be looked at " * 100)
    database = Database(DatabaseSettings(url=f"sqlite:///{file}"))
    with caplog.at_level(logging.CRITICAL):
        await database.start(require_connection=False)
    with pytest.raises(DatabaseUnavailable, match="not a database"):
        await database.ping()
    await database.stop()
