"""What the pool logs goes by SQLAlchemy's names for it, and is governed by them."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from fastapi_asyncdb import Database, DatabaseSettings
from fastapi_asyncdb.pool.fair_pool import FairPool
from fastapi_asyncdb.testing import sandbox
from tests.support.databases import ONE_DRIVER

pytestmark = pytest.mark.databases(*ONE_DRIVER)


@pytest.fixture
def pool_logger() -> Iterator[logging.Logger]:
    """The logger that SQLAlchemy's manual names for pools; its level is put back."""
    logger = logging.getLogger("sqlalchemy.pool")
    before = logger.level
    yield logger
    logger.setLevel(before)


def by_pools(records: list[logging.LogRecord]) -> list[logging.LogRecord]:
    """Return what the code of SQLAlchemy's pools, and ours, has logged."""
    return [
        record
        for record in records
        if Path(record.pathname).parent.name == "pool" or "pool" in Path(record.pathname).name
    ]


async def use(database: Database) -> None:
    """Check a connection out and in, of each engine, and dispose of both pools."""
    async with database, database.session() as session, database.read_session() as reader:
        await session.execute(text("SELECT 1"))
        await reader.execute(text("SELECT 1"))


async def test_pool_is_silent_however_low_the_root_logger_is_set(
    database_url: str, caplog: pytest.LogCaptureFixture
):
    """An application that logs at DEBUG does not get the pool's lines with each request."""
    with caplog.at_level(logging.DEBUG):
        await use(Database(DatabaseSettings(url=database_url)))
    assert by_pools(caplog.records) == []


async def test_sqlalchemy_pool_governs_the_pool(
    database_url: str, caplog: pytest.LogCaptureFixture, pool_logger: logging.Logger
):
    """The manual's ``getLogger("sqlalchemy.pool").setLevel(DEBUG)`` shows checkouts and disposal."""
    pool_logger.setLevel(logging.DEBUG)
    await use(Database(DatabaseSettings(url=database_url)))
    messages = " | ".join(record.getMessage() for record in by_pools(caplog.records))
    assert "checked out from pool" in messages
    assert "Pool disposed" in messages
    names = {record.name for record in by_pools(caplog.records)}
    assert names == {"sqlalchemy.pool.impl.AsyncAdaptedQueuePool"}


async def test_pool_of_a_sandbox_is_governed_as_well(
    database: Database, caplog: pytest.LogCaptureFixture
):
    """A test of an application that logs at DEBUG is as quiet as the application."""
    with caplog.at_level(logging.DEBUG):
        async with sandbox(database), database.session() as session:
            await session.execute(text("SELECT 1"))
    assert by_pools(caplog.records) == []


async def test_pool_logging_name_and_echo_pool_mean_what_they_mean_in_sqlalchemy(
    sqlite_url: str, caplog: pytest.LogCaptureFixture
):
    """The name is appended, echo shows what the logger's level hides, and a new pool keeps both."""
    logger = logging.getLogger("sqlalchemy.pool.impl.AsyncAdaptedQueuePool.orders")
    logger.addHandler(logging.NullHandler())  # or SQLAlchemy adds one that prints
    engine = create_async_engine(
        sqlite_url.replace("sqlite", "sqlite+aiosqlite", 1),
        poolclass=FairPool,
        pool_logging_name="orders",
        echo_pool="debug",
    )
    for _ in range(2):
        caplog.clear()
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
        await engine.dispose()
        assert {record.name for record in by_pools(caplog.records)} == {logger.name}
