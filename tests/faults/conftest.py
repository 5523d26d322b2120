"""A database with the tables of the contract, and somebody who watches it from outside."""

import asyncio
import traceback
from collections.abc import AsyncIterator
from typing import Any, cast

import asyncpg
import pytest

from fastapi_asyncdb import Database, DatabaseSettings
from tests.contract.support import Base
from tests.faults.support import Witness


@pytest.fixture(params=["sqlite", "asyncpg", "psycopg"])
def database_url(request: pytest.FixtureRequest) -> str:
    """An empty database, on SQLite and with each driver for PostgreSQL."""
    if request.param == "sqlite":
        return cast(str, request.getfixturevalue("sqlite_url"))
    url: str = request.getfixturevalue("postgres_url")
    return url.replace("postgresql:", f"postgresql+{request.param}:", 1)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A started handle with two connections at most, so that a lost one is missed."""
    database = Database(DatabaseSettings(url=database_url, pool_size=1, max_overflow=1))
    await database.start(create_tables=Base.metadata)
    yield database
    await database.stop()


@pytest.fixture(autouse=True)
async def _ignore_abandoned_connects() -> None:
    """Asyncpg forgets futures when it is cancelled while it connects; asyncio complains of them."""
    loop = asyncio.get_running_loop()
    report = loop.get_exception_handler()

    def handler(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not _is_abandoned_connect(context.get("exception")):
            if report is None:
                loop.default_exception_handler(context)
            else:
                report(loop, context)

    loop.set_exception_handler(handler)


def _is_abandoned_connect(error: BaseException | None) -> bool:
    if isinstance(error, asyncio.InvalidStateError):  # the answer to its wish for TLS came then
        return any(
            frame.filename.endswith("connect_utils.py")
            for frame in traceback.extract_tb(error.__traceback__)
        )
    return isinstance(error, ConnectionError | asyncpg.PostgresConnectionError)


@pytest.fixture
async def witness(database: Database, database_url: str) -> AsyncIterator[Witness]:
    """Sees what the server sees; after the test, nothing may be left behind."""
    witness = Witness(database, database_url)
    yield witness
    await witness.nothing_is_left_behind()
