"""A database that goes down and comes back while the application runs."""

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError

from fastapi_asyncdb import Database, DatabaseSettings
from fastapi_asyncdb.testing import PostgresServer
from tests.support.application import checked_out


async def test_outage_is_a_database_error(driver: str):
    """Whatever the driver makes of it: who catches SQLAlchemy's error catches the outage."""
    with PostgresServer() as server:
        url = server.url().replace("postgresql:", f"postgresql+{driver}:")
        async with Database(DatabaseSettings(url=url, pool_ping_idle=0)) as database:
            await asyncio.to_thread(server.kill)
            for _ in range(2):
                with pytest.raises(OperationalError, match=r"[Rr]efused"):
                    async with database.session() as session:
                        await session.execute(text("SELECT 1"))
            assert checked_out(database) == 0
            await asyncio.to_thread(server.restart)
            async with database.session() as session:
                assert await session.scalar(text("SELECT 1")) == 1


async def test_password_that_was_changed_is_a_database_error():
    """The server refuses new connections by an error of its own, which asyncpg does not wrap."""
    with PostgresServer() as server:
        async with Database(DatabaseSettings(url=server.url())) as database:
            async with database.session() as session:
                await session.execute(text("ALTER ROLE postgres NOLOGIN"))
            async with database.session() as one, database.session() as another:
                await one.execute(text("SELECT 1"))
                with pytest.raises(DBAPIError, match="not permitted to log in"):
                    await another.execute(text("SELECT 1"))
