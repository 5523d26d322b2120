"""A database with the tables of the data access."""

from collections.abc import AsyncIterator

import pytest

from fastapi_asyncdb import Database
from tests.data.goods import Base
from tests.support.application import with_tables


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A started handle; after the test, every connection must be back in its pool."""
    async with with_tables(database_url, Base.metadata) as database:
        yield database
