"""The server of these tests: TEST_MONGODB_URL, or the wire server of tests/support/mongo_wire."""

from __future__ import annotations

import gc
import os
import warnings
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest

from fastapi_asyncdb.extras.mongo import MongoDatabase, MongoSettings, default_mongo
from tests.extras.mongo.library import Author, Book
from tests.support.mongo_wire import MongoWire, mongo_wire


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the developer's own MONGO_* variables out of the tests."""
    for name in list(os.environ):
        if name.startswith("MONGO_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def server_of_the_session() -> Iterator[str]:
    """A server with transactions; its URL."""
    if url := os.environ.get("TEST_MONGODB_URL"):
        yield url
    else:
        with mongo_wire() as wire:
            yield wire.url


@pytest.fixture
def wire() -> Iterator[MongoWire]:
    """A server of the test's own, which plays faults."""
    with mongo_wire() as wire:
        yield wire
    with warnings.catch_warnings():
        # PyMongo leaves a socket to it when a task is cancelled while it connects.
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def settings(server_of_the_session: str) -> MongoSettings:
    """An empty database of the test's own."""
    return MongoSettings(url=server_of_the_session, database=f"test_{uuid4().hex}")


@pytest.fixture
async def mongo(settings: MongoSettings) -> AsyncIterator[MongoDatabase]:
    """A started ``MongoDatabase`` with the indexes of the library's models."""
    async with MongoDatabase(settings, models=[Author, Book]) as mongo:
        yield mongo
        await mongo.client.drop_database(mongo.database)


@pytest.fixture
async def default(settings: MongoSettings) -> AsyncIterator[MongoDatabase]:
    """The default one, on the same database."""
    default_mongo.models = [Author, Book]
    await default_mongo.start(settings)
    yield default_mongo
    await default_mongo.client.drop_database(default_mongo.database)
    await default_mongo.stop()
    default_mongo.models = ()
