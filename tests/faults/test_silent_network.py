"""A network that swallows everything: nothing is refused, and nothing is answered."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from fastapi.requests import HTTPConnection
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import Database, DatabaseSettings
from fastapi_asyncdb.errors import RollbackTimeout
from tests.support.application import checked_out, eventually
from tests.support.cancelling import Cancellable
from tests.support.databases import SERVERS
from tests.support.grace import shorten_all
from tests.support.tcp_proxy import Proxy

pytestmark = pytest.mark.databases(*SERVERS)


@pytest.fixture(autouse=True)
def _short_grace_periods(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the library's is short, so that a bound that is missing is a hang: pytest-timeout's."""
    shorten_all(monkeypatch, 5)


@pytest.fixture
async def database(database_url: str, proxy: Proxy) -> AsyncIterator[Database]:
    """A started handle with five idle connections, each of which is asked before it is used."""
    url = proxy.through(database_url)
    database = Database(DatabaseSettings(url=url, connect_timeout=1, pool_ping_idle=0))
    await database.start()
    async with AsyncExitStack() as stack:
        for _ in range(5):
            session = await stack.enter_async_context(database.session())
            await session.execute(text("SELECT 1"))
    yield database
    proxy.silent = False
    await database.stop()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the library's warnings."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.name.startswith("fastapi_asyncdb") and record.levelno >= logging.WARNING
    ]


@pytest.mark.promise("T10")
async def test_stop_is_bounded(database: Database, proxy: Proxy, caplog: pytest.LogCaptureFixture):
    """Five connections are dropped in the time of one, and asyncpg's, which waits, is told."""
    waits = database.engine.driver == "asyncpg"
    proxy.silent = True
    await database.stop()
    assert [message[:40] for message in warnings(caplog)] == [
        "5 of 5 idle connections to postgresql+as"
    ] * waits


@pytest.mark.promise("T10")
async def test_stop_waits_for_nobody_who_is_at_work(database: Database, proxy: Proxy):
    """A session that is in use may end its work when the network is back."""
    async with database.session() as session:
        await session.execute(text("SELECT 1"))
        proxy.silent = True
        await database.stop()
        proxy.silent = False
        assert await session.scalar(text("SELECT 2")) == 2


@pytest.mark.promise("T10")
async def test_rollback_after_on_begin_is_bounded(database_url: str, proxy: Proxy):
    """A transaction whose first step has failed is rolled back like any other."""

    async def on_begin(session: AsyncSession, connection: HTTPConnection | None) -> None:
        await session.execute(text("SELECT 1"))
        proxy.silent = True
        raise LookupError

    settings = DatabaseSettings(url=proxy.through(database_url))
    async with Database(settings, on_begin=on_begin) as database:
        with pytest.raises((LookupError, RollbackTimeout)):
            async with database.session() as session:
                await session.execute(text("SELECT 2"))
        await eventually(lambda: checked_out(database) == 0)
        proxy.silent = False


@pytest.mark.promise("T10")
@pytest.mark.parametrize("how", ["task", "scope"])
async def test_cancelled_query_is_given_up(database: Database, proxy: Proxy, how: str):
    """A task that is cancelled in a query without an answer leaves in bounded time."""

    async def work() -> None:
        async with database.session() as session:
            await session.execute(text("SELECT 1"))
            proxy.silent = True
            await session.execute(text("SELECT 2"))

    run = Cancellable(work, how)
    run.start()
    await eventually(lambda: proxy.silent)
    await asyncio.sleep(0.05)
    await run.cancel()
    assert checked_out(database) == 0


@pytest.mark.promise("T10")
async def test_rollback_takes_no_longer_than_it_may(database: Database, proxy: Proxy):
    """Closing the connection to a server that is silent is part of its time."""
    with pytest.raises(RollbackTimeout, match="network is cut"):
        async with database.session() as session:
            await session.execute(text("SELECT 1"))
            proxy.silent = True
            raise RuntimeError
    assert checked_out(database) == 0


@pytest.mark.promise("T18")
async def test_forgotten_connections_are_replaced(database: Database, proxy: Proxy):
    """A ping without an answer has a limit; the request goes on with a new connection."""
    proxy.forget_open()
    for _ in range(5):
        async with database.session() as session:
            assert await session.scalar(text("SELECT 1")) == 1
    assert checked_out(database) == 0
