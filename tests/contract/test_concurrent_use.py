"""One session does one thing at a time, and says who came in between."""

import asyncio
from collections.abc import Awaitable, Callable
from inspect import iscoroutinefunction
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI
from sqlalchemy import ForeignKey, MetaData, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.orm.exc import UnmappedInstanceError

from fastapi_asyncdb import Database, on_commit, on_rollback
from fastapi_asyncdb.concurrency import await_only
from fastapi_asyncdb.errors import (
    ConcurrentSessionUse,
    NotASession,
    RollbackTimeout,
    SessionClosed,
)
from fastapi_asyncdb.session.managed import state_of
from tests.support.application import Base, Note, Request, checked_out, stored
from tests.support.grace import shorten
from tests.support.kept_tables import merged

pytestmark = pytest.mark.promise("T15")


async def read(session: AsyncSession) -> int:
    """Count the notes."""
    return await session.scalar(select(func.count()).select_from(Note)) or 0


async def test_gather_on_one_session_names_both_tasks(database: Database):
    """The classical mistake is an error, on every driver, and tells the two tasks apart."""
    results: list[asyncio.Task[int]] = []
    with pytest.raises(ConcurrentSessionUse, match=r"second \(read\).*first \(read\)"):
        async with database.session() as session:
            await read(session)  # with a connection in hand; without one below
            results.append(asyncio.create_task(read(session), name="first"))
            results.append(asyncio.create_task(read(session), name="second"))
            await asyncio.gather(*results)
    assert await results[0] == 0
    assert checked_out(database) == 0


async def test_gather_before_the_first_statement(database: Database):
    """The mistake is seen even before the session has a connection."""
    async with database.session() as session:
        results = await asyncio.gather(read(session), read(session), return_exceptions=True)
    assert [type(result) for result in results] == [int, ConcurrentSessionUse]


async def test_gather_in_a_request_is_one_error_response(database: Database):
    """The task that was first ends its statement, then all is rolled back; nothing leaks."""
    app = FastAPI()

    @app.post("/")
    async def endpoint(db: Annotated[AsyncSession, Depends(database.get_db)]) -> None:
        db.add(Note(text="lost"))
        await db.flush()
        await asyncio.gather(read(db), read(db))

    request = Request(app, "/", "POST")
    with pytest.raises(ConcurrentSessionUse):
        await request.run()
    assert request.status == 500
    assert await stored(database) == []


async def test_task_left_behind_by_the_handler_is_noticed(database: Database):
    """A handler that returns while its own task is still using the session gets an error."""
    app = FastAPI()
    tasks: list[asyncio.Task[int]] = []

    @app.post("/")
    async def endpoint(db: Annotated[AsyncSession, Depends(database.get_db)]) -> None:
        db.add(Note(text="lost"))
        await db.flush()
        tasks.append(asyncio.create_task(read(db)))
        await asyncio.sleep(0)  # the task is in the middle of its call now

    request = Request(app, "/", "POST")
    with pytest.raises(ConcurrentSessionUse):
        await request.run()
    await asyncio.wait(tasks)
    assert await stored(database) == []


async def test_one_task_after_another_is_legal(database: Database):
    """Streams and timeouts run in tasks of their own: one after the other is fine."""
    async with database.session() as session:
        session.add(Note(text="kept"))
        assert await asyncio.create_task(read(session)) == 1
        assert await asyncio.wait_for(read(session), 5) == 1
        assert await read(session) == 1
    assert await stored(database) == ["kept"]


async def test_session_is_free_again_after_an_error(database: Database):
    """A call that fails or is cancelled leaves the session to the next task."""
    async with database.session() as session:
        with pytest.raises(Exception, match="nowhere"):
            await session.execute(text("SELECT * FROM nowhere"))
        await session.rollback()
        assert await asyncio.create_task(read(session)) == 0


class Furniture(DeclarativeBase):
    pass


class Shelf(Furniture):
    __tablename__ = "shelf"
    id: Mapped[int] = mapped_column(primary_key=True)
    books: Mapped[list["Book"]] = relationship(cascade="all, delete-orphan")


class Book(Furniture):
    __tablename__ = "book"
    id: Mapped[int] = mapped_column(primary_key=True)
    shelf_id: Mapped[int] = mapped_column(ForeignKey("shelf.id"))


# Each coroutine of AsyncSession, called so that it sends a statement; one shelf is loaded, two exist.
CALLS: dict[str, Callable[[Any, Shelf], Awaitable[object]]] = {
    "connection": lambda session, shelf: session.connection(),
    "delete": lambda session, shelf: session.delete(shelf),
    "delete_all": lambda session, shelf: session.delete_all([shelf]),
    "execute": lambda session, shelf: session.execute(select(Shelf)),
    "flush": lambda session, shelf: session.flush(),
    "get": lambda session, shelf: session.get(Shelf, 2),
    "get_one": lambda session, shelf: session.get_one(Shelf, 2),
    "merge": lambda session, shelf: session.merge(Shelf(id=2)),
    "merge_all": lambda session, shelf: session.merge_all([Shelf(id=2)]),
    "refresh": lambda session, shelf: session.refresh(shelf),
    "run_sync": lambda session, shelf: session.run_sync(lambda sync: sync.scalars(select(Shelf))),
    "scalar": lambda session, shelf: session.scalar(select(Shelf)),
    "scalars": lambda session, shelf: session.scalars(select(Shelf)),
    "stream": lambda session, shelf: session.stream(select(Shelf)),
    "stream_scalars": lambda session, shelf: session.stream_scalars(select(Shelf)),
}
# These end a transaction: a task that comes meanwhile waits, or they wait for it.
ENDS = {"aclose", "close", "commit", "invalidate", "reset", "rollback"}


def test_every_coroutine_of_asyncsession_is_known_here():
    """A coroutine that SQLAlchemy adds must be put into one of the two lists, or no test calls it."""
    coroutines = {
        name
        for name, member in vars(AsyncSession).items()
        if iscoroutinefunction(member) and not name.startswith("_")
    }
    assert coroutines - CALLS.keys() - ENDS == set()


TABLES = merged(Base.metadata, Furniture.metadata)


@pytest.fixture
def tables() -> MetaData:
    """The tables of ``database``."""
    return TABLES


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("name", [name for name in CALLS if hasattr(AsyncSession, name)])
async def test_no_coroutine_runs_beside_another(database: Database, name: str, order: str):
    """Whatever a session does, a second task that comes in the middle of it is refused."""
    async with database.session() as session:
        session.add_all([Shelf(id=1), Shelf(id=2)])
    async with database.session() as session:
        shelf = await session.get_one(Shelf, 1)
        await session.commit()
        session.add(Shelf(id=3))
        await database.engine.dispose()  # what asks for a connection waits until it is made
        calls = [CALLS[name](session, shelf), read(session)]
        results = await asyncio.gather(
            *(calls if order == "before" else reversed(calls)), return_exceptions=True
        )
    assert not isinstance(results[0], Exception)
    assert isinstance(results[1], ConcurrentSessionUse)
    assert checked_out(database) == 0


async def savepoint(session: AsyncSession, number: int) -> None:
    """Store a note inside of a savepoint."""
    async with session.begin_nested():
        session.add(Note(id=number, text="in a savepoint"))
        await session.flush()


async def test_two_tasks_open_a_savepoint_at_once(database: Database):
    """The second to come is refused, the first stores its work: no internals of SQLAlchemy."""
    async with database.session() as session:
        await read(session)
        results = await asyncio.gather(
            *(savepoint(session, number) for number in (1, 2)), return_exceptions=True
        )
    assert [type(result) for result in results] == [type(None), ConcurrentSessionUse]
    assert await stored(database) == ["in a savepoint"]


async def test_savepoint_ends_while_another_tasks_is_open_in_it(database: Database):
    """Savepoints of two tasks that overlap are named as such, when the outer one ends."""
    inside, done = asyncio.Event(), asyncio.Event()
    tasks: list[asyncio.Task[None]] = []

    async def inner(session: AsyncSession) -> None:
        async with session.begin_nested():
            inside.set()
            await done.wait()

    with pytest.raises(ConcurrentSessionUse):
        async with database.session() as session:
            await read(session)
            try:
                async with session.begin_nested():
                    tasks.append(asyncio.create_task(inner(session)))
                    await inside.wait()
            finally:
                done.set()
                await asyncio.wait(tasks)
    assert checked_out(database) == 0


async def test_task_opens_a_savepoint_inside_of_its_parents(database: Database):
    """One after the other is legal for savepoints too: the parent waits for the task."""
    async with database.session() as session, session.begin_nested():
        await asyncio.create_task(savepoint(session, 1))
        await savepoint(session, 2)
    assert await stored(database) == ["in a savepoint"] * 2


# --- While another task commits, or rolls back ----------------------------------------------------


async def during_commit(session: AsyncSession, act: Callable[[], object]) -> None:
    """Act as soon as another task commits."""
    tasks = state_of(session).tasks
    while tasks.ending is None:
        await asyncio.sleep(0)
    act()


async def test_object_that_cannot_be_added_is_the_error_of_its_own_task(database: Database):
    """The commit that was under way has succeeded, and says so."""
    async with database.session() as session:
        session.add(Note(text="kept"))
        await session.flush()
        other = asyncio.create_task(during_commit(session, lambda: session.add(object())))
        await session.commit()
        with pytest.raises(UnmappedInstanceError):
            await other
    assert await stored(database) == ["kept"]


async def test_task_that_is_cancelled_outside_of_requests_undoes_nothing(database: Database):
    """There is no response that could have been cut off."""
    async with database.session() as session:
        session.add(Note(text="first"))
        await session.flush()

        async def add() -> None:
            await during_commit(session, lambda: session.add(Note(text="other's")))
            await asyncio.Event().wait()

        other = asyncio.create_task(add())
        await asyncio.sleep(0)
        await session.commit()
        session.add(Note(text="second"))
        other.cancel()
        await asyncio.wait([other])
    assert await stored(database) == ["first", "other's", "second"]


async def test_hook_of_another_task_waits_for_the_work_of_that_task(database: Database):
    """It was added with an object that belongs to the next transaction, which is rolled back."""
    ran: list[str] = []

    def act(session: AsyncSession) -> None:
        session.add(Note(text="lost"))
        on_commit(session, ran.append, "committed")
        on_rollback(session, ran.append, "rolled back")

    with pytest.raises(ZeroDivisionError):
        async with database.session() as session:
            on_commit(session, ran.append, "own")
            session.add(Note(text="kept"))
            await session.flush()
            other = asyncio.create_task(during_commit(session, lambda: act(session)))
            await asyncio.sleep(0)
            await session.commit()
            await other
            raise ZeroDivisionError
    assert ran == ["own", "rolled back"]
    assert await stored(database) == ["kept"]


async def test_rollback_that_cannot_wait_for_another_tasks_call(
    database: Database, monkeypatch: pytest.MonkeyPatch
):
    """It says which task, the session is closed for good, and that task's call ends the transaction."""
    shorten(monkeypatch, ending=0.2)
    others: list[asyncio.Task[None]] = []
    sessions: list[AsyncSession] = []
    may_end = asyncio.Event()

    async def busy(session: AsyncSession) -> None:
        await session.run_sync(lambda _: await_only(may_end.wait()))

    with pytest.raises(RollbackTimeout, match=r"since other \(.*busy\) is in the middle of a call"):
        async with database.session() as session:
            sessions.append(session)
            session.add(Note(text="lost"))
            await session.flush()
            others.append(asyncio.create_task(busy(session), name="other"))
            await asyncio.sleep(0)
            raise ZeroDivisionError
    may_end.set()
    await others[0]
    assert checked_out(database) == 0
    with pytest.raises(SessionClosed):
        await sessions[0].execute(select(1))
    assert await stored(database) == []


async def test_block_is_entered_once(database: Database):
    """A second task would take the first one's session from it."""
    scope = database.session()
    async with scope:
        with pytest.raises(NotASession, match="entered again"):
            await scope.__aenter__()
