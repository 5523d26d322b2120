"""A database with the tables of the data access."""

from collections.abc import AsyncIterator

import pytest

from fastapi_asyncdb import Database, DatabaseSettings
from tests.data.goods import Base
from tests.support.application import checked_out


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A started handle; after the test, every connection must be back in its pool."""
    database = Database(DatabaseSettings(url=database_url))
    await database.start(create_tables=Base.metadata)
    try:
        yield database
        assert checked_out(database) == 0
    finally:
        await database.stop()
