"""Faults of the server and the network: what is lost, what is in doubt, what a client gets.

On the wire server, which plays them.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI
from pymongo.errors import AutoReconnect

from fastapi_asyncdb import install_error_handlers
from fastapi_asyncdb.errors import (
    CannotConnect,
    CommitOutcomeUnknown,
    DatabaseUnavailable,
    OperationTimeout,
    PoolTimeout,
    TransactionConflict,
    TransactionsNotSupported,
)
from fastapi_asyncdb.extras.mongo import (
    MongoDatabase,
    MongoRepository,
    MongoSession,
    MongoSettings,
)
from tests.extras.mongo.library import Author
from tests.support.application import client
from tests.support.grace import shorten
from tests.support.mongo_wire import Fault, MongoWire, mongo_wire

# PyMongo leaves a socket to the garbage collector when its task is cancelled while it connects.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


def settings(wire: MongoWire, **options: Any) -> MongoSettings:
    """Return the settings of a server."""
    return MongoSettings(url=wire.url, **options)


@pytest.fixture
async def mongo(wire: MongoWire) -> AsyncIterator[MongoDatabase]:
    """A started one on the test's own server."""
    async with MongoDatabase(settings(wire), models=[Author]) as mongo:
        wire.commands.clear()
        yield mongo


@pytest.fixture
async def impatient(wire: MongoWire) -> AsyncIterator[MongoDatabase]:
    """One that gives up early: no test that is to succeed may need it, on a busy machine."""
    options = settings(wire, server_selection_timeout=0.3, commit_timeout=1)
    async with MongoDatabase(options, models=[Author]) as mongo:
        yield mongo


def application(mongo: MongoDatabase) -> FastAPI:
    """A route that writes in a transaction, and one that reads without."""
    app = FastAPI()
    install_error_handlers(app)

    @app.post("/authors", status_code=201)
    async def create(
        session: Annotated[MongoSession, Depends(mongo.get_mongo_transaction)], name: str = "Ada"
    ) -> None:
        await MongoRepository[Author](session).create(name=name, email=name)

    @app.get("/authors")
    async def read(session: Annotated[MongoSession, Depends(mongo.get_mongo)]) -> list[Author]:
        return list(await MongoRepository[Author](session).list())

    return app


async def names(mongo: MongoDatabase) -> list[str]:
    """Return the authors that everybody can see."""
    async with mongo.session() as session:
        return [author.name for author in await MongoRepository[Author](session).list()]


async def create(mongo: MongoDatabase, name: str = "Ada") -> None:
    """Create an author in a transaction."""
    async with mongo.transaction() as session:
        await MongoRepository[Author](session).create(name=name, email=name)


async def test_away_is_503_and_recovers(impatient: MongoDatabase, wire: MongoWire):
    """With Retry-After, in bounded time, and by itself when the server is back."""
    async with client(application(impatient)) as http:
        wire.refuse()
        for answer in (await http.get("/authors"), await http.post("/authors")):
            assert answer.status_code == 503
            assert answer.json()["type"].endswith(":database-unavailable")
            assert int(answer.headers["Retry-After"]) > 0
        with pytest.raises(CannotConnect, match="No MongoDB server could be reached"):
            await names(impatient)
        wire.listen()
        async with asyncio.timeout(20):
            while (await http.post("/authors")).status_code != 201:
                await asyncio.sleep(0.05)


async def test_answer_of_a_commit_is_lost(mongo: MongoDatabase, wire: MongoWire):
    """The commit is sent again, which stores nothing twice."""
    for action in ("cut before", "cut after", "cut within"):
        wire.add("commitTransaction", action)
        await create(mongo, action)
    assert await names(mongo) == ["cut before", "cut after", "cut within"]
    assert wire.commands.count("commitTransaction") == 6


async def test_commit_without_any_answer_is_in_doubt(
    mongo: MongoDatabase, impatient: MongoDatabase, wire: MongoWire
):
    """Stored or not: the error says neither, and the client gets 500 with its own type."""
    fault = wire.add("commitTransaction", "cut after", times=1000)
    with pytest.raises(
        CommitOutcomeUnknown, match="has not answered the commit within 1 s"
    ) as raised:
        await create(impatient)
    assert isinstance(raised.value.orig, Exception)
    assert not raised.value.connection_invalidated
    async with client(application(impatient)) as http:
        answer = await http.post("/authors", params={"name": "Bob"})
        assert (answer.status_code, answer.json()["type"].split(":")[-1]) == (
            500,
            "commit-outcome-unknown",
        )
    fault.times = 0
    assert await names(mongo) == ["Ada", "Bob"]


async def test_doubtful_commit_is_not_repeated(impatient: MongoDatabase, wire: MongoWire):
    """run_in_transaction would do the work twice."""
    runs: list[MongoSession] = []

    async def work(session: MongoSession) -> None:
        runs.append(session)
        await MongoRepository[Author](session).create(name="Ada", email=str(len(runs)))

    wire.add("commitTransaction", "cut after", times=1000)
    with pytest.raises(CommitOutcomeUnknown):
        await impatient.run_in_transaction(work)
    assert len(runs) == 1


async def test_unknown_result_of_a_commit_is_asked_again(mongo: MongoDatabase, wire: MongoWire):
    """An election during the commit: the label says that it may be sent again."""
    wire.add(
        "commitTransaction", "fail", times=3, code=8, labels=("UnknownTransactionCommitResult",)
    )
    await create(mongo)
    assert await names(mongo) == ["Ada"]


async def test_refused_commit_stores_nothing(mongo: MongoDatabase, wire: MongoWire):
    """It is a conflict: run_in_transaction runs the work again, and the next commit succeeds."""
    wire.add("commitTransaction", "fail", code=251, labels=("TransientTransactionError",))
    with pytest.raises(TransactionConflict):
        await create(mongo)
    assert await names(mongo) == []
    wire.add("commitTransaction", "fail", times=2, code=112, labels=("TransientTransactionError",))

    async def work(session: MongoSession) -> None:
        await MongoRepository[Author](session).create(name="Ada", email="ada")

    await mongo.run_in_transaction(work)
    assert await names(mongo) == ["Ada"]


@pytest.mark.parametrize("action", ["cut before", "cut after", "cut within"])
async def test_connection_lost_in_a_transaction(mongo: MongoDatabase, wire: MongoWire, action: str):
    """Nothing is stored; the work may be repeated, and run_in_transaction does."""
    wire.add("insert", action)
    with pytest.raises(DatabaseUnavailable, match="was lost before there was an answer") as raised:
        await create(mongo)
    assert isinstance(raised.value, TransactionConflict)
    assert isinstance(raised.value, AutoReconnect)
    assert await names(mongo) == []
    wire.add("insert", action)

    async def work(session: MongoSession) -> None:
        await MongoRepository[Author](session).create(name="Ada", email="ada")

    await mongo.run_in_transaction(work)
    assert await names(mongo) == ["Ada"]


@pytest.mark.parametrize("action", ["cut before", "cut after", "cut within"])
async def test_single_write_is_sent_again_once(mongo: MongoDatabase, wire: MongoWire, action: str):
    """PyMongo's retryable writes: exactly once, although the answer was lost."""
    async with mongo.session() as session:
        wire.add("insert", action)
        await MongoRepository[Author](session).create(name="Ada", email="ada")
        assert await names(mongo) == ["Ada"]
        wire.add("insert", action, times=1000)
        with pytest.raises(DatabaseUnavailable) as raised:
            await MongoRepository[Author](session).create(name="Bob", email="bob")
        assert not isinstance(raised.value, TransactionConflict)


async def test_silent_server_does_not_hang_a_request(
    wire: MongoWire, monkeypatch: pytest.MonkeyPatch
):
    """An operation without an answer ends after its limit and a grace period."""
    shorten(monkeypatch, answer=0.2)
    async with MongoDatabase(settings(wire, operation_timeout=0.3)) as mongo:
        wire.add("find", "stall", times=1000)
        async with client(application(mongo)) as http:
            assert (await http.get("/authors")).status_code == 503
        for fault in wire.faults:
            fault.released.set()


async def test_server_ends_a_slow_query(mongo: MongoDatabase, wire: MongoWire):
    """504, as a statement timeout of SQL; the limit goes with the query."""
    wire.add("find", "fail", code=50)
    with pytest.raises(OperationTimeout, match="MONGO_OPERATION_TIMEOUT"):
        await names(mongo)


async def test_full_pool_is_busy(wire: MongoWire):
    """A wait for a connection that is too long is PoolTimeout, which is answered with 503."""
    async with MongoDatabase(settings(wire, pool_size=1, pool_timeout=0.2)) as mongo:
        fault = wire.add("find", "stall")
        first = asyncio.create_task(names(mongo))
        await asyncio.to_thread(fault.seen.wait)
        with pytest.raises(PoolTimeout, match="MONGO_POOL_SIZE"):
            await names(mongo)
        fault.released.set()
        assert await first == []


async def cancelled_at(fault: Fault, work: Any, *, finishes: bool = False) -> None:
    """Cancel work when the server has got the command, and wait for its end.

    Args:
        fault: Stalls the command.
        work: What to cancel.
        finishes: Whether it goes on until the command is answered.
    """
    task = asyncio.create_task(work)
    await asyncio.to_thread(fault.seen.wait)
    task.cancel()
    await asyncio.sleep(0.05)
    assert not (finishes and task.done())
    fault.released.set()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_cancelled_operation_rolls_back(mongo: MongoDatabase, wire: MongoWire):
    """The transaction is aborted at the server, and the session's connection is not lost."""

    async def work() -> None:
        async with mongo.transaction() as session:
            authors = MongoRepository[Author](session)
            await authors.create(name="Ada", email="ada")
            await authors.count()

    await cancelled_at(wire.add("aggregate", "stall"), work())
    assert wire.commands.count("abortTransaction") == 1
    assert "commitTransaction" not in wire.commands
    assert await names(mongo) == []
    await create(mongo)


async def test_cancelled_commit_is_finished(mongo: MongoDatabase, wire: MongoWire):
    """Its outcome is known, and the task is cancelled all the same."""
    await cancelled_at(wire.add("commitTransaction", "stall"), create(mongo), finishes=True)
    assert await names(mongo) == ["Ada"]


async def test_silent_abort_is_given_up(
    mongo: MongoDatabase, wire: MongoWire, monkeypatch: pytest.MonkeyPatch
):
    """The error of the handler arrives in bounded time; the server ends the transaction by itself."""
    shorten(monkeypatch, ending=0.5)
    fault = wire.add("abortTransaction", "stall", times=1000)
    with pytest.raises(ZeroDivisionError):
        async with mongo.transaction() as session:
            await MongoRepository[Author](session).create(name="Ada", email="ada")
            raise ZeroDivisionError
    fault.released.set()
    assert await names(mongo) == []


async def test_standalone_server_has_no_transactions():
    """An error at the first operation, which says what to do; never silently without."""
    with mongo_wire(replica_set=False) as wire:
        async with MongoDatabase(settings(wire), models=[Author]) as mongo:
            with pytest.raises(TransactionsNotSupported, match=r"rs\.initiate\(\)"):
                await create(mongo)
            async with client(application(mongo)) as http:
                assert (await http.post("/authors")).status_code == 500
            assert await names(mongo) == []
            async with mongo.session() as session:
                await MongoRepository[Author](session).create(name="Ada", email="ada")
            assert await names(mongo) == ["Ada"]
