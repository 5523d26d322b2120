"""A database with the tables of the contract, and a witness that watches it from outside."""

from collections.abc import AsyncIterator, Iterator

import pytest
from sqlalchemy import MetaData

from fastapi_asyncdb import Database, DatabaseSettings
from tests.support.application import Base
from tests.support.cancelling import Witness, ignore_abandoned_connects
from tests.support.replicas import Servers, primary_with_standbys


@pytest.fixture
def tables() -> MetaData:
    """The tables of ``database``."""
    return Base.metadata


@pytest.fixture
async def database(database_url: str, missing_tables: MetaData | None) -> AsyncIterator[Database]:
    """A started handle with two connections at most, so that a lost one is missed."""
    ignore_abandoned_connects()
    database = Database(DatabaseSettings(url=database_url, pool_size=1, max_overflow=1))
    await database.start(create_tables=missing_tables)
    yield database
    await database.stop()


@pytest.fixture
async def witness(database: Database, database_url: str) -> AsyncIterator[Witness]:
    """Sees what the server sees; after the test, nothing may be left behind."""
    witness = Witness(database, database_url)
    yield witness
    await witness.nothing_is_left_behind()


@pytest.fixture(scope="session")
def own_servers() -> Iterator[Servers]:
    """Start a primary and two standbys once."""
    with primary_with_standbys() as servers:
        yield servers


@pytest.fixture
def servers(own_servers: Servers) -> Iterator[Servers]:
    """A primary and two standbys; mend after each test what it has broken."""
    yield own_servers
    own_servers.revive()
