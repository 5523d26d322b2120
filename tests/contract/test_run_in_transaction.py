"""Work in its own transaction: again after a conflict, once otherwise, never inside another one."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import BackgroundTasks, Depends, FastAPI
from fastapi.responses import StreamingResponse
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import Database, DatabaseSettings, on_commit, on_rollback
from fastapi_asyncdb.errors import (
    ConfigurationError,
    ReadOnlySession,
    SessionClosed,
    TransactionInProgress,
)
from tests.support.application import (
    Base,
    Counter,
    Note,
    Reply,
    Request,
    checked_out,
    client,
    stored,
)
from tests.support.databases import SERVERS
from tests.support.server_sql import lose_connection


async def serializable(session: AsyncSession) -> None:
    """Begin the transaction so that a server finds conflicts; SQLite's are so anyway."""
    if session.get_bind().dialect.name != "sqlite":
        await session.connection(execution_options={"isolation_level": "SERIALIZABLE"})


async def transfer(session: AsyncSession, source: int, target: int, amount: int = 1) -> int:
    """Read both, compute, write both: with plain isolation this would lose updates."""
    await serializable(session)
    giver = await session.get_one(Counter, source)
    taker = await session.get_one(Counter, target)
    await asyncio.sleep(0)
    giver.value -= amount
    taker.value += amount
    return giver.value


@pytest.fixture
async def accounts(database: Database) -> None:
    """Three accounts with 100 each."""
    async with database.session() as session:
        session.add_all(Counter(id=number, value=100) for number in (1, 2, 3))


async def values(database: Database) -> list[int]:
    """Return what the accounts hold."""
    async with database.read_session() as session:
        return list(await session.scalars(select(Counter.value).order_by(Counter.id)))


@pytest.mark.usefixtures("accounts")
async def test_concurrent_transfers_all_succeed(database: Database):
    """32 that conflict with each other are all done in the end, each exactly once."""
    attempts = 0

    async def work(session: AsyncSession, source: int, target: int) -> int:
        nonlocal attempts
        attempts += 1
        return await transfer(session, source, target)

    pairs = [(1, 2), (2, 3), (3, 1), (2, 1)] * 8
    await asyncio.gather(
        *(database.run_in_transaction(work, *pair, attempts=100) for pair in pairs)
    )
    assert await values(database) == [100 + 8, 100 - 8, 100]
    if database.engine.dialect.name != "sqlite":
        assert attempts > 32
    assert checked_out(database) == 0


@pytest.mark.databases(*SERVERS)
async def test_real_deadlock_is_resolved(database_url: str):
    """Two that lock in opposite order both succeed; the server ended one of them once."""
    async with Database(DatabaseSettings(url=database_url)) as database:
        await database.start(create_tables=Base.metadata)
        async with database.session() as session:
            session.add_all(Counter(id=number, value=0) for number in (1, 2))
        barrier = asyncio.Barrier(2)
        attempts = 0

        async def work(session: AsyncSession, *order: int) -> None:
            nonlocal attempts
            attempts += 1
            add = update(Counter).values(value=Counter.value + 1)
            await session.execute(add.where(Counter.id == order[0]))
            if attempts <= 2:
                await barrier.wait()
            await session.execute(add.where(Counter.id == order[1]))

        await asyncio.gather(
            database.run_in_transaction(work, 1, 2), database.run_in_transaction(work, 2, 1)
        )
        assert await values(database) == [2, 2]
        assert attempts >= 3  # the one that is repeated may be in the way of the other once more
        await database.stop()


async def test_conflict_at_commit_is_retried(postgres_url: str):
    """A serialization failure may come from COMMIT itself, when all statements have succeeded."""
    async with Database(DatabaseSettings(url=postgres_url)) as database:
        await database.start(create_tables=Base.metadata)
        barrier = asyncio.Barrier(2)
        journal: list[str] = []

        async def work(session: AsyncSession) -> None:
            await serializable(session)
            count = await session.scalar(select(func.count()).select_from(Note))
            session.add(Note(text=f"after {count}"))
            await session.flush()
            journal.append("statements done")
            if len(journal) <= 2:
                await barrier.wait()

        await asyncio.gather(*(database.run_in_transaction(work) for _ in range(2)))
        assert journal == ["statements done"] * 3
        assert await stored(database) == ["after 0", "after 1"]
        await database.stop()


@pytest.fixture
async def busy(tmp_path: Path) -> AsyncIterator[tuple[Database, Database]]:
    """Two handles on one SQLite file, of which one soon gives up waiting."""
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    holder = Database(DatabaseSettings(url=url))
    waiter = Database(DatabaseSettings(url=url, lock_timeout=0.05))
    await holder.start(create_tables=Base.metadata)
    async with waiter:
        yield holder, waiter
    await holder.stop()


async def test_busy_sqlite_is_retried(busy: tuple[Database, Database]):
    """Another process holds the lock for longer than lock_timeout: the next attempt gets it."""
    holder, waiter = busy

    async def work(session: AsyncSession) -> None:
        session.add(Note(text="waiter"))

    async with holder.session() as session:
        session.add(Note(text="holder"))
        await session.flush()
        waiting = asyncio.create_task(waiter.run_in_transaction(work, attempts=100))
        await asyncio.sleep(0.3)
        assert not waiting.done()
    await waiting
    assert await stored(holder) == ["holder", "waiter"]


@pytest.mark.parametrize(
    ("limits", "note"),
    [({"attempts": 3}, "at attempt 3"), ({"attempts": 10**6, "deadline": 0.3}, "at attempt ")],
)
async def test_giving_up_raises_the_last_error_with_a_note(
    busy: tuple[Database, Database], limits: dict[str, Any], note: str
):
    """The class stays what handlers know; the note has the number of attempts and the time."""
    holder, waiter = busy

    async def work(session: AsyncSession) -> None:
        await session.execute(text("SELECT 1"))

    async with holder.session() as session:
        session.add(Note(text="holder"))
        await session.flush()
        async with asyncio.timeout(5):
            with pytest.raises(OperationalError, match="locked") as caught:
                await waiter.run_in_transaction(work, **limits)
    assert f"Given up {note}" in caught.value.__notes__[0]


@pytest.mark.usefixtures("accounts")
async def test_only_the_attempt_that_committed_has_its_hooks(database: Database):
    """Those of the attempts before were rolled back, and their other hooks tell."""
    attempts = 0
    journal: list[str] = []

    async def work(session: AsyncSession) -> int:
        nonlocal attempts
        attempts += 1
        on_commit(session, journal.append, f"commit {attempts}")
        on_rollback(session, journal.append, f"rollback {attempts}")
        session.add(Note(text=f"attempt {attempts}"))
        await session.flush()
        if attempts < 3:
            raise conflict()
        return attempts

    assert await database.run_in_transaction(work) == 3
    assert journal == ["rollback 1", "rollback 2", "commit 3"]
    assert await stored(database) == ["attempt 3"]


def conflict() -> DBAPIError:
    """Return what a conflict looks like, for attempts that have to fail on both databases."""

    class Conflict(Exception):
        sqlstate = "40001"

    return OperationalError("UPDATE", {}, Conflict("could not serialize access"))


@pytest.mark.parametrize("kind", ["own", "constraint", "at commit"])
async def test_other_errors_are_raised_at_once(database: Database, kind: str):
    """A bug, a duplicate, a failed check: the next attempt would fail as well."""
    attempts = 0

    async def work(session: AsyncSession) -> None:
        nonlocal attempts
        attempts += 1
        session.add(Note(id=1, text="lost"))
        await session.flush()
        if kind == "own":
            raise ZeroDivisionError
        if kind == "constraint":
            await session.execute(text("INSERT INTO note VALUES (1, 'twice')"))
        session.add(Reply(note_id=404))

    with pytest.raises(ZeroDivisionError if kind == "own" else IntegrityError) as caught:
        await database.run_in_transaction(work)
    assert attempts == 1
    assert not hasattr(caught.value, "__notes__")
    assert await stored(database) == []


@pytest.mark.databases(*SERVERS)
async def test_lost_connection_is_never_retried(database_url: str):
    """COMMIT may have been done: only the caller can find out."""
    attempts = 0

    async def work(session: AsyncSession) -> None:
        nonlocal attempts
        attempts += 1
        await lose_connection(database, session)

    async with Database(DatabaseSettings(url=database_url)) as database:
        with pytest.raises(DBAPIError):
            await database.run_in_transaction(work)
    assert attempts == 1


@pytest.mark.parametrize("where", ["work", "pause"])
async def test_cancellation_ends_it(database: Database, where: str):
    """In the middle of an attempt, or between two; nothing is left behind."""
    attempts = 0
    waiting = asyncio.Event()

    async def work(session: AsyncSession) -> None:
        nonlocal attempts
        attempts += 1
        session.add(Note(text="lost"))
        await session.flush()
        waiting.set()
        if where == "pause":
            raise conflict()
        await asyncio.sleep(60)

    task = asyncio.create_task(database.run_in_transaction(work, attempts=10**6, deadline=None))
    await waiting.wait()
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert attempts == 1 or where == "pause"
    assert checked_out(database) == 0
    assert await stored(database) == []


async def test_each_attempt_has_a_session_of_its_own(database: Database):
    """Nothing of a failed attempt is left in the next one's session."""
    sessions = []

    async def work(session: AsyncSession) -> None:
        sessions.append(session)
        assert not session.new
        session.add(Note(text="written"))
        if len(sessions) == 1:
            raise conflict()

    await database.run_in_transaction(work)
    assert sessions[0] is not sessions[1]
    assert await stored(database) == ["written"]
    with pytest.raises(SessionClosed):
        await sessions[1].scalar(text("SELECT 1"))


async def test_limits_are_checked_before_anything_runs(database: Database):
    """Zero attempts is a mistake; the decorator says so where it stands."""

    async def work(session: AsyncSession) -> None:
        pytest.fail("ran")

    with pytest.raises(ConfigurationError):
        await database.run_in_transaction(work, attempts=0)
    with pytest.raises(ConfigurationError):
        database.transactional(attempts=0)


@pytest.mark.usefixtures("accounts")
async def test_decorated_function_opens_its_own_session(database: Database):
    """Callers leave the session out; arguments, result, name and retries are as they should be."""
    attempts = 0

    @database.transactional(attempts=3)
    async def pay(session: AsyncSession, source: int, *, target: int) -> int:
        """Pay."""
        nonlocal attempts
        attempts += 1
        left = await transfer(session, source, target, 10)
        if attempts == 1:
            raise conflict()
        return left

    assert await pay(1, target=2) == 90
    assert attempts == 2
    assert await values(database) == [90, 110, 100]
    assert (pay.__name__, pay.__doc__) == ("pay", "Pay.")


@pytest.mark.usefixtures("accounts")
async def test_decorated_function_is_an_endpoint(database: Database):
    """FastAPI sees the function's parameters without the session."""
    app = FastAPI()

    @app.post("/{source}")
    @database.transactional()
    async def pay(session: AsyncSession, source: int, target: int) -> int:
        return await transfer(session, source, target)

    async with client(app) as http:
        assert (await http.post("/1?target=3")).json() == 99
    assert await values(database) == [99, 100, 101]


# --- Inside of another transaction ----------------------------------------------------------------


async def note(session: AsyncSession, words: str) -> str:
    """Write a row."""
    session.add(Note(text=words))
    return words


@pytest.mark.parametrize("task", [True, False])
@pytest.mark.parametrize("nested", [True, False])
async def test_refused_inside_an_open_transaction(database: Database, task: bool, nested: bool):
    """The outer one would not be tried again, and on SQLite the two wait for each other."""

    async def inner() -> None:
        call = database.run_in_transaction(note, "inner")
        await (asyncio.create_task(call) if task else call)

    async with database.session() as session:
        session.add(Note(text="outer"))
        await session.flush()
        with pytest.raises(TransactionInProgress, match="pass the session you have"):
            if nested:
                async with database.session():
                    await inner()
            else:
                await inner()
    assert await stored(database) == ["outer"]


async def test_refused_after_transactions_that_were_allowed(database: Database):
    """A session is still around the call when it had no transaction at an earlier one."""
    async with database.session() as session:
        await database.run_in_transaction(note, "before")
        session.add(Note(text="outer"))
        await session.flush()
        with pytest.raises(TransactionInProgress):
            await database.run_in_transaction(note, "inner")
    assert await stored(database) == ["before", "outer"]


async def test_allowed_when_the_session_around_is_in_no_transaction(database: Database):
    """Before its first statement, after its commit, after its end, and beside a reading session."""
    async with database.session() as session:
        await database.run_in_transaction(note, "before")
        session.add(Note(text="outer"))
        await session.commit()
        await database.run_in_transaction(note, "after commit")
    await database.run_in_transaction(note, "after the end")
    async with database.read_session() as reader:
        await reader.scalar(text("SELECT 1"))
        await database.run_in_transaction(note, "beside a reader")
    assert await stored(database) == [
        *("before", "outer", "after commit", "after the end", "beside a reader")
    ]


async def test_another_handle_is_another_matter(database: Database):
    """Its transactions cannot wait for this one's."""
    async with Database(DatabaseSettings(url="sqlite://")) as other, other.session() as session:
        await session.execute(text("SELECT 1"))
        await database.run_in_transaction(note, "written")
    assert await stored(database) == ["written"]


async def test_a_task_that_outlives_the_transaction_is_not_refused(database: Database):
    """What counts is the moment of the call."""
    ended = asyncio.Event()

    async def later() -> str:
        await ended.wait()
        return await database.run_in_transaction(note, "later")

    async with database.session() as session:
        session.add(Note(text="outer"))
        await session.flush()
        task = asyncio.create_task(later())
    ended.set()
    assert await task == "later"


async def test_work_may_not_nest(database: Database):
    """A transaction within the work is a second one too, once the first has begun."""

    async def work(session: AsyncSession) -> None:
        await note(session, "outer")
        await database.run_in_transaction(note, "inner")

    with pytest.raises(TransactionInProgress):
        await database.run_in_transaction(work)
    assert await stored(database) == []


async def test_requests_are_refused_while_their_transaction_is_open(database: Database):
    """In the handler, after a statement; not before one, in a hook, or after the response."""
    DB = Annotated[AsyncSession, Depends(database.get_db)]
    app = FastAPI()
    run = database.run_in_transaction

    async def yielding(db: DB) -> AsyncIterator[AsyncSession]:
        yield db

    @app.post("/idle")
    async def idle(db: DB) -> None:
        await run(note, "idle")

    @app.post("/open")
    async def open_(db: DB) -> None:
        db.add(Note(text="lost"))
        await run(note, "open")

    @app.post("/yielded")
    async def yielded(db: Annotated[AsyncSession, Depends(yielding)]) -> None:
        db.add(Note(text="lost"))
        await run(note, "yielded")

    @app.post("/gathered")
    async def gathered(db: DB) -> None:
        db.add(Note(text="lost"))
        await asyncio.gather(run(note, "gathered"))

    @app.post("/after")
    async def after(db: DB, tasks: BackgroundTasks) -> StreamingResponse:
        async def chunks() -> AsyncIterator[str]:
            yield await run(note, "stream")

        on_commit(db, run, note, "hook")
        tasks.add_task(run, note, "background")
        db.add(Note(text="handler"))
        return StreamingResponse(chunks(), background=tasks)

    for path in ("/open", "/yielded", "/gathered"):
        request = Request(app, path, "POST")
        with contextlib.suppress(TransactionInProgress):
            await request.run()
        assert request.status == 500
    await Request(app, "/idle", "POST").run()
    request = Request(app, "/after", "POST")
    await request.run()
    assert request.body == b"stream"
    assert await stored(database) == ["idle", "handler", "hook", "stream", "background"]


async def test_attempts_wait_longer_each_time(postgres_url: str, monkeypatch: pytest.MonkeyPatch):
    """Work that met a conflict lets the other one finish: up to 0.05 s, then up to 0.1 s."""
    monkeypatch.setattr("fastapi_asyncdb.concurrency.random.uniform", lambda low, high: high)
    begun: list[float] = []

    async def work(session: AsyncSession) -> None:
        begun.append(time.monotonic())
        if len(begun) < 3:
            await session.execute(
                text("DO $$ BEGIN RAISE EXCEPTION 'conflict' USING ERRCODE = '40001'; END $$")
            )

    async with Database(DatabaseSettings(url=postgres_url)) as database:
        await database.run_in_transaction(work)
    assert begun[1] - begun[0] > 0.05
    assert begun[2] - begun[1] > 0.1


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"isolation_level": "NONSENSE"}, ConfigurationError, "is not an isolation level"),
        ({"lock_timeout": -1}, ConfigurationError, "is not a time"),
        ({"deferrable": True}, ConfigurationError, "has no effect"),
        (
            {"isolation_levl": "SERIALIZABLE"},
            TypeError,
            "isolation_levl.*isolation_level, read_only",
        ),
    ],
)
async def test_bad_options_are_refused_where_they_are_written(
    options: dict[str, Any], error: type[Exception], words: str
):
    """The decorator refuses them when it is applied, each call before the work runs."""
    database = Database()  # not started, and without settings
    with pytest.raises(error, match=words):
        database.transactional(**options)
    with pytest.raises(error, match=words):
        await database.run_in_transaction(never, **options)
    with pytest.raises(error, match=words):
        database.session(**options)
    with pytest.raises(error, match=words):
        database.dependency(**options)


async def never(session: AsyncSession) -> None:
    """Work that must not run."""
    raise AssertionError


def test_options_that_the_database_has_not_are_refused_by_the_decorator(sqlite_url: str):
    """A handle with settings of its own knows its database before it starts."""
    database = Database(DatabaseSettings(url=sqlite_url))
    with pytest.raises(ConfigurationError, match="READ COMMITTED"):
        database.transactional(isolation_level="READ COMMITTED")


async def test_options_that_the_database_has_not_are_refused_at_start(sqlite_url: str):
    """A handle without, as soon as it has them: no call has to fail first."""
    database = Database()
    database.transactional(isolation_level="READ COMMITTED")(never)
    with pytest.raises(ConfigurationError, match="READ COMMITTED"):
        await database.start(DatabaseSettings(url=sqlite_url))


async def test_options_of_the_decorator_hold_for_each_call(database: Database):
    """What is checked once is what each transaction has."""

    @database.transactional(isolation_level="SERIALIZABLE", read_only=True)
    async def write(session: AsyncSession) -> None:
        session.add(Note(text="refused"))

    for _ in range(2):
        with pytest.raises(ReadOnlySession):
            await write()
    assert await stored(database) == []
