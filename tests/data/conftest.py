"""A database with the tables of the data access."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import MetaData

from fastapi_asyncdb import Database
from tests.data.goods import Base
from tests.support.application import with_tables


@pytest.fixture
def tables() -> MetaData:
    """The tables of ``database``."""
    return Base.metadata


@pytest.fixture
async def database(database_url: str, missing_tables: MetaData | None) -> AsyncIterator[Database]:
    """A started handle; after the test, every connection must be back in its pool."""
    async with with_tables(database_url, missing_tables) as database:
        yield database
