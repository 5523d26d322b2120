"""Faults of the network between PyMongo and the server, which may be a real one: TEST_MONGODB_URL."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import anyio
import pytest

from fastapi_asyncdb.errors import CommitOutcomeUnknown, DatabaseUnavailable, InvalidValue
from fastapi_asyncdb.extras.mongo import MongoDatabase, MongoRepository, MongoSettings
from tests.extras.mongo.library import Author, Book
from tests.support.grace import shorten
from tests.support.tcp_proxy import Proxy, tcp_proxy

# PyMongo leaves a socket to the garbage collector when its task is cancelled while it connects.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


@pytest.fixture
async def proxy(settings: MongoSettings) -> AsyncIterator[Proxy]:
    """A network in front of the server."""
    port = urlsplit(settings.url.get_secret_value()).port or 27017
    async with tcp_proxy(port) as proxy:
        proxy.commit_word = b"commitTransaction"
        yield proxy


@pytest.fixture
async def far(settings: MongoSettings, proxy: Proxy) -> AsyncIterator[MongoDatabase]:
    """The same database through the proxy."""
    async with MongoDatabase(through(settings, proxy), models=[Author, Book]) as far:
        yield far
        async with MongoDatabase(settings) as near:
            await near.client.drop_database(near.database)


def through(settings: MongoSettings, proxy: Proxy, **options: Any) -> MongoSettings:
    """Return the settings of the same database through the proxy, with short timeouts."""
    parts = urlsplit(settings.url.get_secret_value())
    login = parts.netloc.rpartition("@")
    url = parts._replace(
        netloc=f"{login[0]}{login[1]}127.0.0.1:{proxy.port}", query="directConnection=true"
    )
    defaults = {"server_selection_timeout": 5, "commit_timeout": 2.5}
    return MongoSettings(url=url.geturl(), database=settings.database, **defaults | options)


async def create(mongo: MongoDatabase, name: str = "Ada") -> None:
    """Create an author in a transaction."""
    async with mongo.transaction() as session:
        await MongoRepository[Author](session).create(name=name, email=name)


async def count(settings: MongoSettings) -> int:
    """Return how many authors there are, without the proxy."""
    async with MongoDatabase(settings) as near, near.session() as session:
        return await MongoRepository[Author](session).count()


@pytest.mark.parametrize("stored", [False, True])
async def test_cut_at_each_commit(
    far: MongoDatabase, proxy: Proxy, settings: MongoSettings, stored: bool
):
    """In doubt, whether it was stored or not; nothing hangs, and the next one succeeds."""
    proxy.at_commit = "cut after" if stored else "cut before"
    with pytest.raises(CommitOutcomeUnknown):
        await create(far)
    proxy.at_commit = "forward"
    assert await count(settings) == int(stored)
    await create(far, "Bob")


async def test_answer_of_a_commit_is_swallowed(
    far: MongoDatabase, proxy: Proxy, settings: MongoSettings
):
    """The commit is given up after its timeout, and not after that of the socket."""
    proxy.at_commit = "swallow"
    with pytest.raises(CommitOutcomeUnknown):
        await create(far)
    proxy.at_commit = "forward"
    assert await count(settings) == 1


async def test_silent_network(
    settings: MongoSettings, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
):
    """An operation ends in bounded time, and so does the end of its transaction."""
    shorten(monkeypatch, answer=1.0, ending=1.0)
    async with MongoDatabase(through(settings, proxy, operation_timeout=1)) as far:
        await create(far)
        with pytest.raises(DatabaseUnavailable):
            async with far.transaction() as session:
                await MongoRepository[Author](session).create(name="Bob", email="bob")
                proxy.silent = True
                await MongoRepository[Author](session).count()
        proxy.silent = False
    assert await count(settings) == 1


@pytest.mark.parametrize("by_scope", [False, True])
async def test_cancelled_transaction_is_aborted(
    far: MongoDatabase, proxy: Proxy, settings: MongoSettings, by_scope: bool
):
    """By a task and by a scope of AnyIO alike; the documents are free at once."""
    begun = asyncio.Event()

    async def work() -> None:
        async with far.transaction() as session:
            await MongoRepository[Author](session).create(name="Ada", email="ada")
            begun.set()
            await asyncio.sleep(3600)

    if by_scope:
        async with anyio.create_task_group() as group:
            group.start_soon(work)
            await begun.wait()
            group.cancel_scope.cancel()
    else:
        task = asyncio.create_task(work())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await create(far, "ada")
    assert await count(settings) == 1


async def test_document_that_is_too_large(mongo: MongoDatabase):
    """More than 16 MB is the client's mistake; the session goes on."""
    async with mongo.session() as session:
        books = MongoRepository[Book](session)
        with pytest.raises(InvalidValue, match="larger than 16 MB"):
            await books.create(title="Tea", summary="x" * (17 * 2**20))
        assert await books.count() == 0
