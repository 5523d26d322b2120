"""Connections that the server ends, or never answers: the error says why, and names the setting."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError

from fastapi_asyncdb import Database, DatabaseSettings
from fastapi_asyncdb.errors import DatabaseUnavailable
from tests.support.application import checked_out
from tests.support.tcp_proxy import Proxy


@pytest.fixture
async def database(driver_url: str) -> AsyncIterator[Database]:
    """A started handle whose transactions may not idle."""
    settings = DatabaseSettings(url=driver_url, idle_in_transaction_timeout=0.1, connect_timeout=2)
    async with Database(settings) as database:
        yield database


async def gone(url: str, pid: int) -> None:
    """Wait until the server has ended this session."""
    watcher = await asyncpg.connect(url)
    try:
        async with asyncio.timeout(5):
            while await watcher.fetchval("SELECT 1 FROM pg_stat_activity WHERE pid = $1", pid):
                await asyncio.sleep(0.01)
    finally:
        await watcher.close()


@pytest.mark.parametrize("then", ["statement", "commit"])
async def test_idle_transaction_is_named(database: Database, postgres_url: str, then: str):
    """The next statement, or the commit, says that it idled, and which setting ended it."""
    with pytest.raises(OperationalError, match="DATABASE_IDLE_IN_TRANSACTION_TIMEOUT") as caught:
        async with database.session() as session:
            pid = await session.scalar(text("SELECT pg_backend_pid()"))
            await gone(postgres_url, pid)
            if then == "statement":
                await session.execute(text("SELECT 2"))
    assert caught.value.connection_invalidated
    assert "idle" in str(caught.value)
    assert checked_out(database) == 0
    async with database.session() as session:
        assert await session.scalar(text("SELECT 3")) == 3


async def test_reason_of_the_server_is_not_lost(database: Database, postgres_url: str):
    """A backend that was ended while it was idle says so, with asyncpg as well."""
    with pytest.raises(DBAPIError, match="terminating connection due to administrator command"):
        async with database.read_session() as session:
            pid = await session.scalar(text("SELECT pg_backend_pid()"))
            watcher = await asyncpg.connect(postgres_url)
            await watcher.fetchval("SELECT pg_terminate_backend($1)", pid)
            await watcher.close()
            await gone(postgres_url, pid)
            await session.execute(text("SELECT 2"))


@pytest.mark.parametrize("hosts", ["127.0.0.1:PORT", "127.0.0.1:PORT,localhost:PORT"])
async def test_silent_server_is_named_at_start(driver: str, hosts: str, silent_port: int):
    """No word of cancellations, which are how drivers keep the time."""
    url = f"postgresql+{driver}://u@{hosts.replace('PORT', str(silent_port))}/app"
    with pytest.raises(DatabaseUnavailable) as caught:
        await Database(DatabaseSettings(url=url, connect_timeout=0.3, startup_timeout=0)).start()
    message = str(caught.value)
    assert "no answer within" in message
    assert "DATABASE_CONNECT_TIMEOUT" in message
    assert "Cancelled" not in message


async def test_server_that_falls_silent_is_named(driver: str, postgres_url: str, proxy: Proxy):
    """A new connection that a request needs, and that no server answers."""
    settings = DatabaseSettings(url=proxy.through(postgres_url, driver), connect_timeout=0.5)
    async with Database(settings) as database, database.session() as one:
        await one.execute(text("SELECT 1"))
        proxy.silent = True
        with pytest.raises(OperationalError, match="no answer within") as caught:
            async with database.session() as another:
                await another.execute(text("SELECT 1"))
        proxy.silent = False
    assert "DATABASE_CONNECT_TIMEOUT" in str(caught.value)
