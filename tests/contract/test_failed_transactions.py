"""A swallowed failure never turns into a success that stored nothing."""

from typing import Annotated

import pytest
from fastapi import Depends, FastAPI
from sqlalchemy import select, text
from sqlalchemy.exc import (
    DBAPIError,
    IntegrityError,
    InvalidRequestError,
    OperationalError,
    StatementError,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from fastapi_asyncdb import Database
from fastapi_asyncdb.dialects import family_of
from fastapi_asyncdb.errors import TransactionAborted
from tests.support.application import Note, Request, client, stored
from tests.support.databases import MARIADB
from tests.support.deadlocks import deadlock

pytestmark = pytest.mark.promise("T9")

FATAL = {
    # Any error of the server's own ends the transaction.
    "postgresql": "INSERT INTO note (id, text) VALUES (1, 'again')",
    # So does this conflict clause; a plain conflict undoes its statement only.
    "sqlite": "INSERT OR ROLLBACK INTO note (id, text) VALUES (1, 'again')",
}
"""On MySQL a deadlock does."""


async def fail(session: AsyncSession) -> None:
    """Write a row, then run a statement that ends the transaction, and swallow its error."""
    session.add(Note(id=1, text="lost"))
    await session.flush()
    fatal = FATAL.get(family_of(session.get_bind().dialect.name))
    with pytest.raises(DBAPIError):
        await (session.execute(text(fatal)) if fatal else deadlock(session, note=1))


async def test_swallowed_failure_is_an_error_before_the_response(database: Database):
    """The handler returns 201, the database has dropped its work: the client gets an error."""
    app = FastAPI()

    @app.post("/", status_code=201)
    async def endpoint(db: Annotated[AsyncSession, Depends(database.get_db)]) -> None:
        await fail(db)

    request = Request(app, "/", "POST")
    with pytest.raises(TransactionAborted, match=r"begin_nested.*rollback") as caught:
        await request.run()
    assert request.status == 500
    assert isinstance(caught.value.__cause__, Exception)
    assert isinstance(caught.value, InvalidRequestError)
    assert await stored(database) == []


@pytest.mark.parametrize("kind", ["commit", "begin block", "session block", "flush"])
async def test_swallowed_failure_is_an_error_outside_of_requests(database: Database, kind: str):
    """An explicit commit, a begin() block, the end of session(), a later flush: all refuse."""

    async def work(session: AsyncSession) -> None:
        if kind == "begin block":
            async with session.begin():
                await fail(session)
            return
        await fail(session)
        if kind == "flush":
            session.add(Note(id=2, text="lost too"))
            await session.flush()
        if kind == "commit":
            await session.commit()

    with pytest.raises(TransactionAborted):
        async with database.session() as session:
            await work(session)
    assert await stored(database) == []


async def test_nothing_more_is_sent_after_a_swallowed_failure(database: Database):
    """What follows is refused before it reaches the database, where it might be stored."""
    async with database.session() as session:
        await fail(session)
        with pytest.raises(TransactionAborted):
            await session.execute(text("INSERT INTO note (id, text) VALUES (2, 'after')"))
        await session.rollback()
    assert await stored(database) == []


async def test_rollback_clears_it(database: Database):
    """After an explicit rollback the session starts again."""
    async with database.session() as session:
        await fail(session)
        await session.rollback()
        session.add(Note(text="kept"))
    assert await stored(database) == ["kept"]


async def test_savepoint_clears_it(database: Database):
    """A failure inside begin_nested() ends the savepoint only."""
    async with database.session() as session:
        session.add(Note(id=1, text="kept"))
        await session.flush()
        with pytest.raises(IntegrityError):
            async with session.begin_nested():
                await session.execute(text("INSERT INTO note (id, text) VALUES (1, 'again')"))
        session.add(Note(id=2, text="kept too"))
    assert await stored(database) == ["kept", "kept too"]


async def test_failure_before_the_savepoint_is_not_cleared_by_it(database: Database):
    """A savepoint opened in a dead transaction does not revive it."""
    with pytest.raises(TransactionAborted):
        async with database.session() as session:
            await fail(session)
            async with session.begin_nested():
                session.add(Note(id=2, text="lost"))
    assert await stored(database) == []


async def test_swallowed_failure_inside_a_savepoint_is_an_error_of_the_savepoint(
    database: Database,
):
    """Swallowing it inside the block fails the block; around it, all is well."""
    async with database.session() as session:
        session.add(Note(id=1, text="kept"))
        await session.flush()
        with pytest.raises((TransactionAborted, DBAPIError)):
            async with session.begin_nested():
                if family_of(database.engine.name) != "postgresql":
                    raise TransactionAborted("elsewhere conflicts do not end savepoints")
                with pytest.raises(IntegrityError):
                    await session.execute(text("INSERT INTO note (id, text) VALUES (1, 'again')"))
    assert await stored(database) == ["kept"]


@pytest.mark.databases("sqlite", *MARIADB)
async def test_savepoint_that_went_with_its_transaction_saves_nothing(database: Database):
    """The failure ends the transaction around the savepoint too: nothing after it is stored alone."""
    with pytest.raises(TransactionAborted, match="has ended the transaction"):
        async with database.session() as session:
            session.add(Note(id=2, text="lost too"))
            await session.flush()
            with pytest.raises(TransactionAborted):
                async with session.begin_nested():
                    await fail(session)
            session.add(Note(id=3, text="after"))
    assert await stored(database) == []


@pytest.mark.databases(*MARIADB)
async def test_deadlock_in_a_savepoint_is_the_error_that_is_raised(database: Database):
    """ROLLBACK TO would say that there is no such savepoint, which is no error that is retried."""
    with pytest.raises(OperationalError, match="1213"):
        async with database.session() as session, session.begin_nested():
            session.add(Note(id=1, text="lost"))
            await session.flush()
            await deadlock(session, note=1)
    assert await stored(database) == []


async def test_swallowed_failure_in_synchronous_code(database: Database):
    """run_sync() gives a plain session, whose savepoints and commits refuse as well."""
    if family_of(database.engine.name) != "postgresql":
        return  # its conflicts end no transaction

    def again(session: Session) -> None:
        with pytest.raises(IntegrityError):
            session.execute(text("INSERT INTO note (id, text) VALUES (1, 'again')"))

    def in_savepoint(session: Session) -> None:
        with pytest.raises(TransactionAborted), session.begin_nested():
            again(session)

    def commit(session: Session) -> None:
        again(session)
        with pytest.raises(TransactionAborted):
            session.commit()

    async with database.session() as session:
        session.add(Note(id=1, text="kept"))
        await session.flush()
        await session.run_sync(in_savepoint)
        await session.commit()
        await session.run_sync(commit)
        await session.rollback()
    assert await stored(database) == ["kept"]


async def test_harmless_failure_may_be_swallowed(database: Database):
    """An error that the database never saw, or that ends nothing there, costs nothing."""
    async with database.session() as session:
        session.add(Note(id=1, text="kept"))
        await session.flush()
        with pytest.raises(StatementError):
            await session.execute(text("SELECT :missing"))
        if database.engine.name != "mysql":  # whose drivers send the text of any object
            with pytest.raises((DBAPIError, StatementError)):
                await session.execute(select(Note).where(Note.id == object()))
        if family_of(database.engine.name) != "postgresql":
            with pytest.raises(IntegrityError):
                await session.execute(text("INSERT INTO note (id, text) VALUES (1, 'again')"))
    assert await stored(database) == ["kept"]


@pytest.mark.promise("T17")
async def test_failed_read_in_autocommit_ends_nothing(database: Database):
    """A reading session has no transaction to lose."""
    async with database.session() as session:
        session.add(Note(text="kept"))
    async with database.read_session() as session:
        with pytest.raises(DBAPIError):
            await session.execute(text("SELECT * FROM nowhere"))
        assert list(await session.scalars(select(Note.text))) == ["kept"]


async def test_connection_is_clean_for_the_next_request(database: Database):
    """The flag goes with the transaction, not with the connection."""
    app = FastAPI()

    @app.post("/fail")
    async def failing(db: Annotated[AsyncSession, Depends(database.get_db)]) -> None:
        await fail(db)

    @app.post("/write")
    async def write(db: Annotated[AsyncSession, Depends(database.get_db)]) -> None:
        db.add(Note(text="kept"))

    async with client(app) as http:
        for _ in range(3):
            assert (await http.post("/fail")).status_code == 500
        assert (await http.post("/write")).status_code == 200
    assert await stored(database) == ["kept"]
