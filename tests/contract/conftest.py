"""A database with the tables of the contract."""

from collections.abc import AsyncIterator

import pytest

from fastapi_asyncdb import Database
from tests.support.application import Base, with_tables


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A started handle; after the test, every connection must be back in its pool."""
    async with with_tables(database_url, Base.metadata) as database:
        yield database
