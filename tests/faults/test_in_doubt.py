"""A COMMIT without an answer is said to be one, and can be looked up afterwards."""

import asyncio
import pickle
from collections.abc import AsyncIterator
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI
from fastapi.responses import JSONResponse
from sqlalchemy import select, text
from sqlalchemy.dialects.sqlite.base import SQLiteDialect
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.pool import PoolProxiedConnection

from fastapi_asyncdb import (
    Database,
    DatabaseSettings,
    on_commit,
    on_rollback,
    remember_transaction_id,
)
from fastapi_asyncdb.errors import CommitOutcomeUnknown
from tests.support.application import Base, Note, Reply, client, eventually, stored
from tests.support.application import checked_out as checked_out_of
from tests.support.cancelling import Cancellable, Witness
from tests.support.databases import POSTGRESQL, SERVERS
from tests.support.grace import shorten
from tests.support.server_sql import end_session, number_of, sleep
from tests.support.tcp_proxy import Proxy

pytestmark = [
    pytest.mark.promise("T11"),
    pytest.mark.databases(*SERVERS),
    pytest.mark.usefixtures("tables"),
]


@pytest.fixture
async def database(proxy: Proxy, database_url: str) -> AsyncIterator[Database]:
    """A handle that reaches its server through the proxy."""
    database = Database(DatabaseSettings(url=proxy.through(database_url)))
    await database.start()
    yield database
    proxy.at_commit = "forward"
    await eventually(lambda: checked_out_of(database) == 0)
    await database.stop()


@pytest.fixture
def witness(database: Database, database_url: str) -> Witness:
    """A witness that looks from outside, and does not use the proxy."""
    return Witness(database, database_url)


def outcome_on(database: Database, outcome: str) -> str:
    """Return what a server says of a transaction: only PostgreSQL keeps its outcome."""
    return outcome if database.engine.dialect.name == "postgresql" else "unknown"


async def write(database: Database, proxy: Proxy, at_commit: Any, *, remember: bool = True) -> None:
    """Store a note over a network that fails at the end."""
    async with database.session() as session:
        session.add(Note(text="written"))
        await session.flush()
        if remember:
            await remember_transaction_id(session)
        proxy.commit_seen.clear()
        proxy.at_commit = at_commit


@pytest.mark.parametrize(
    ("at_commit", "outcome", "rows"),
    [("cut before", "aborted", []), ("cut after", "committed", ["written"])],
)
async def test_cut_connection(
    database: Database, proxy: Proxy, at_commit: str, outcome: str, rows: list[str]
):
    """The same error before and after the server has seen COMMIT; the server knows which."""
    with pytest.raises(CommitOutcomeUnknown, match="Do not repeat") as caught:
        await write(database, proxy, at_commit)
    proxy.at_commit = "forward"
    error = caught.value
    assert isinstance(error, DBAPIError)
    # Loops that repeat work after a lost connection go by it.
    assert not error.connection_invalidated
    assert error.__cause__ is error.orig
    assert await error.resolve(database) == outcome_on(database, outcome)
    assert await stored(database) == rows


@pytest.mark.promise("T14")
async def test_no_hook_runs(database: Database, proxy: Proxy, caplog: pytest.LogCaptureFixture):
    """Which of the two would be right is unknown; the log names both."""
    ran: list[str] = []
    with pytest.raises(CommitOutcomeUnknown):
        async with database.session() as session:
            on_commit(session, ran.append, "committed")
            on_rollback(session, ran.append, "rolled back")
            session.add(Note(text="written"))
            await session.flush()
            proxy.at_commit = "cut after"
    assert ran == []
    assert "not run: on_commit hook list.append, on_rollback hook list.append" in caplog.text


@pytest.mark.parametrize("at_commit", ["cut before", "cut after"])
async def test_nobody_asked_for_the_id(database: Database, proxy: Proxy, at_commit: str):
    """Without the transaction's id there is nothing to ask with."""
    with pytest.raises(CommitOutcomeUnknown) as caught:
        await write(database, proxy, at_commit, remember=False)
    proxy.at_commit = "forward"
    assert caught.value.transaction_id is None
    assert await caught.value.resolve(database) == "unknown"


async def test_id_is_forgotten_with_its_transaction(database: Database, proxy: Proxy):
    """An id is never told of another transaction on the same connection."""
    async with database.session() as session:
        await remember_transaction_id(session)
        await session.commit()
        session.add(Note(text="written"))
        await session.flush()
        proxy.at_commit = "cut after"
        with pytest.raises(CommitOutcomeUnknown) as caught:
            await session.commit()
        await session.rollback()
    assert caught.value.transaction_id is None


async def test_explicit_commit_and_block(database: Database, proxy: Proxy):
    """Also from db.commit() and the end of db.begin()."""
    for number in range(2):
        async with database.session() as session:
            with pytest.raises(CommitOutcomeUnknown):
                if number == 0:
                    session.add(Note(text="explicit"))
                    await session.flush()
                    proxy.at_commit = "cut after"
                    await session.commit()
                else:
                    async with session.begin():
                        session.add(Note(text="block"))
                        await session.flush()
                        proxy.at_commit = "cut after"
            await session.rollback()
        proxy.at_commit = "forward"
    assert await stored(database) == ["explicit", "block"]


@pytest.mark.promise("T2")
async def test_request_answers_once_and_never_2xx(database: Database, proxy: Proxy):
    """A request in doubt is one error response, through the application's handlers."""
    app = FastAPI()
    attempts = 0

    @app.exception_handler(CommitOutcomeUnknown)
    async def in_doubt(request: object, error: CommitOutcomeUnknown) -> JSONResponse:
        proxy.at_commit = "forward"
        outcome = await error.resolve(database)
        return JSONResponse({"outcome": outcome}, status_code=503)

    @app.post("/notes", status_code=201)
    async def create(db: Annotated[AsyncSession, Depends(database.get_db)]) -> None:
        nonlocal attempts
        attempts += 1
        db.add(Note(text="written"))
        await db.flush()
        await remember_transaction_id(db)
        proxy.at_commit = "cut after"

    async with client(app) as http:
        response = await http.post("/notes")
    assert (response.status_code, response.json()) == (
        503,
        {"outcome": outcome_on(database, "committed")},
    )
    assert attempts == 1
    assert await stored(database) == ["written"]


@pytest.mark.promise("T10")
@pytest.mark.parametrize("how", ["task", "scope"])
async def test_swallowed_answer_does_not_hang_a_shutdown(
    database: Database, proxy: Proxy, how: str, monkeypatch: pytest.MonkeyPatch
):
    """Cancelled while the answer never comes: bounded, and the outcome is said to be unknown."""
    # psycopg asks the server to cancel, for the time of a handshake, before it gives up.
    shorten(monkeypatch, ending=0.2, handshake=0.5, after_cancellation=(0.3, 30.0))
    run = Cancellable(lambda: write(database, proxy, "swallow"), how)
    run.start()
    await eventually(lambda: proxy.at_commit == "swallow" and proxy.commit_seen.is_set())
    with pytest.raises(CommitOutcomeUnknown) as caught:
        await run.cancel()
    proxy.at_commit = "forward"
    assert await caught.value.resolve(database) == outcome_on(database, "committed")


async def test_refused_commit_keeps_its_error(database: Database):
    """A constraint that fails at COMMIT is an answer, and no doubt."""
    with pytest.raises(IntegrityError):
        async with database.session() as session:
            session.add(Reply(note_id=404))  # MariaDB has no deferred ones, and refuses the flush
    # So is a flush that fails inside of the commit.
    with pytest.raises(IntegrityError):
        async with database.session() as session:
            session.add_all([Note(id=1, text="one"), Note(id=2, text=None)])


async def kill(witness: Witness, session: AsyncSession, number: int | None = None) -> None:
    """End the server's session of a session of ours, and let the driver hear of it."""
    number = await number_of(session) if number is None else number
    async with Database(DatabaseSettings(url=witness.url)) as another:
        await end_session(another, number)
    await asyncio.sleep(0.1)


async def test_backend_killed_while_idle_in_the_pool(database: Database, witness: Witness):
    """At worst one request fails, plainly, and the next has a new connection."""
    async with database.session() as session:
        await session.execute(select(Note))
        number = await number_of(session)
    await kill(witness, session, number)
    errors: list[Exception] = []
    try:
        await write_note(database)
    except DBAPIError as error:
        errors.append(error)
        await write_note(database)
    assert not any(isinstance(error, CommitOutcomeUnknown) for error in errors)
    assert await stored(database) == ["written"]


async def write_note(database: Database) -> None:
    """Store a note."""
    async with database.session() as session:
        session.add(Note(text="written"))


async def test_backend_killed_before_the_flush(database: Database, witness: Witness):
    """What fails before COMMIT was sent is a lost connection like any other."""
    with pytest.raises(DBAPIError) as caught:
        async with database.session() as session:
            await session.execute(select(Note))
            # Between the server's last words and the end of the line asyncpg has errors of its own.
            await kill(witness, session)
            session.add(Note(text="lost"))
    assert not isinstance(caught.value, CommitOutcomeUnknown)
    assert caught.value.connection_invalidated
    assert await stored(database) == []


async def test_backend_killed_in_the_handler(database: Database, witness: Witness):
    """Most drivers notice it before COMMIT is sent; psycopg only gets no answer to it."""
    with pytest.raises(DBAPIError) as caught:
        async with database.session() as session:
            session.add(Note(text="lost"))
            await session.flush()
            await remember_transaction_id(session)
            await kill(witness, session)
    assert isinstance(caught.value, CommitOutcomeUnknown) is (database.engine.driver == "psycopg")
    if isinstance(caught.value, CommitOutcomeUnknown):
        assert await caught.value.resolve(database) == "aborted"
    else:
        assert caught.value.connection_invalidated
    assert await stored(database) == []


async def test_backend_killed_during_a_statement(database: Database, witness: Witness):
    """An error of the statement; the connection is replaced."""
    under_way: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def work() -> None:
        async with database.session() as session:
            session.add(Note(text="lost"))
            under_way.set_result(await number_of(session))
            await session.execute(sleep(database, 60))

    task = asyncio.create_task(work())
    await kill(witness, AsyncSession(), await under_way)
    with pytest.raises(DBAPIError) as caught:
        await task
    assert not isinstance(caught.value, CommitOutcomeUnknown)
    assert await stored(database) == []


IDLE_TIMEOUTS = {
    "postgresql": "SET LOCAL idle_in_transaction_session_timeout = '50ms'",
    "mysql": "SET SESSION idle_transaction_timeout = 1",
}


async def test_idle_in_transaction_timeout_is_no_doubt(database: Database, proxy: Proxy):
    """A server that gave up waiting for the next command has not seen COMMIT."""
    with pytest.raises(DBAPIError, match="IDLE_IN_TRANSACTION_TIMEOUT") as caught:
        async with database.session() as session:
            await session.execute(text(IDLE_TIMEOUTS[database.engine.dialect.name]))
            before = proxy.open()
            await session.execute(select(Note))
            await eventually(lambda: proxy.open() < before)
            await asyncio.sleep(0.05)
    assert not isinstance(caught.value, CommitOutcomeUnknown)
    assert caught.value.connection_invalidated


async def test_error_survives_pickling(database: Database, proxy: Proxy):
    """Task queues send exceptions to other processes."""
    error = CommitOutcomeUnknown("words", ConnectionError("cut"), transaction_id=7)
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error)
    assert (copy.args, copy.transaction_id, copy.connection_invalidated) == (("words",), 7, False)


@pytest.mark.databases(*POSTGRESQL)
async def test_server_that_knows_no_such_transaction(database: Database):
    """A number from the future, or from another server, is nothing known."""
    assert await database.transaction_outcome(2**62) == "unknown"


@pytest.mark.databases(*POSTGRESQL)
async def test_transaction_that_is_still_open(database: Database):
    """The server has not noticed yet that the client is gone."""
    async with database.session() as session:
        number = await remember_transaction_id(session)
        assert number is not None
        assert await database.transaction_outcome(number) == "unknown"


async def test_watching_costs_no_round_trip(database: Database, proxy: Proxy):
    """BEGIN, INSERT and COMMIT are three, as without the library; the id costs another one."""
    for remember in (False, True):
        await write(database, proxy, "forward", remember=remember)
    costs = []
    for remember in (False, True):
        before = proxy.round_trips
        await write(database, proxy, "forward", remember=remember)
        costs.append(proxy.round_trips - before)
    assert costs[1] == costs[0] + (database.engine.dialect.name == "postgresql")


async def test_sqlite_has_no_ids(sqlite_url: str):
    """Asking for an id is harmless on a database without one, and an outcome stays unknown."""
    async with Database(DatabaseSettings(url=sqlite_url)) as database:
        async with database.session() as session:
            assert await remember_transaction_id(session) is None
        assert await database.transaction_outcome(1) == "unknown"


async def test_lost_network_in_sqlites_place(sqlite_url: str, monkeypatch: pytest.MonkeyPatch):
    """An operating system error in COMMIT counts as doubt, whatever the driver calls it."""
    database = Database(DatabaseSettings(url=sqlite_url))
    cut = False
    commit = SQLiteDialect.do_commit

    def do_commit(self: SQLiteDialect, dbapi_connection: PoolProxiedConnection) -> None:
        if cut:
            raise ConnectionResetError("cut")
        commit(self, dbapi_connection)

    monkeypatch.setattr(SQLiteDialect, "do_commit", do_commit)
    await database.start(create_tables=Base.metadata)
    cut = True
    with pytest.raises(CommitOutcomeUnknown, match="ConnectionResetError: cut"):
        await write_note(database)
    cut = False
    assert await stored(database) == []
    await database.stop()
