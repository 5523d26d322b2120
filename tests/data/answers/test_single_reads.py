"""Answers of reading sessions: each has a connection for its statement, and no transaction."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI
from sqlalchemy import MetaData, Select, event, func, inspect, select
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker
from sqlalchemy.orm import Session

from fastapi_asyncdb import Answer, Database, DatabaseSettings, answer
from fastapi_asyncdb.dialects import json_of
from fastapi_asyncdb.errors import ReadOnlySession, SessionClosed
from fastapi_asyncdb.testing.engine_events import listening_on_engines
from tests.data.answers.forum import POSTS, TITLES, Base, Post, PostOut, Title, fill, sent
from tests.support.application import checked_out, client

IN_ORDER = select(Post).order_by(Post.id)


@pytest.fixture
def tables() -> MetaData:
    """The tables of ``database``."""
    return Base.metadata


@pytest.fixture
async def database(database: Database) -> Database:
    """The database, with the rows of the forum."""
    await fill(database)
    return database


async def test_connection_is_returned_with_the_rows(database: Database):
    """A handler that goes on after it holds none."""
    app, seen = FastAPI(), list[int]()
    builds = json_of(database.engine.dialect) is not None

    @app.get("/")
    async def posts(
        db: Annotated[AsyncSession, Depends(database.get_read_db)],
    ) -> Answer[list[PostOut]]:
        response = await answer(db, IN_ORDER, list[PostOut])
        seen.append(checked_out(database))
        return response

    async with client(app) as http:
        assert (await http.get("/")).json() == POSTS
    assert seen == [0 if builds else 1]
    assert checked_out(database) == 0


async def test_values_differ_from_request_to_request(database: Database):
    """The same statement with other values finds other rows: in conditions, IN, LIMIT and OFFSET."""
    async with database.read_session() as session:
        for number in (1, 2, 3, 1):
            one = select(Post).where(Post.id == number)
            assert await sent(session, one, PostOut) == POSTS[number - 1]
        for numbers in ([1], [3, 2], [], [1, 2, 3], [2]):
            some = IN_ORDER.where(Post.id.in_(numbers))
            expected = [each for each in POSTS if each["id"] in numbers]
            assert await sent(session, some, list[PostOut]) == expected
        for limit, offset in ((1, 0), (2, 1), (3, 2), (1, 1), (0, 0)):
            part = IN_ORDER.limit(limit).offset(offset)
            assert await sent(session, part, list[PostOut]) == POSTS[offset : offset + limit]
            assert await sent(session, part, list[Title]) == TITLES[offset : offset + limit]


@contextmanager
def heard(name: str) -> Iterator[list[Any]]:
    """Listen to an event of all sessions; yield what it has told."""
    told: list[Any] = []

    def listener(*arguments: Any) -> None:
        told.append(arguments)

    event.listen(Session, name, listener)
    try:
        yield told
    finally:
        event.remove(Session, name, listener)


@pytest.mark.parametrize(
    "name",
    [
        "after_begin",
        "after_transaction_create",
        "after_transaction_end",
        "do_orm_execute",
    ],
)
async def test_listeners_of_the_application(database: Database, name: str):
    """They hear of the session's begin, where they may set who the tenant is, and of its statement."""
    async with database.read_session() as session:
        assert await sent(session, IN_ORDER, list[PostOut]) == POSTS
        with heard(name) as told:
            assert await sent(session, IN_ORDER, list[PostOut]) == POSTS
            assert told
        assert await sent(session, IN_ORDER, list[PostOut]) == POSTS


class FirstOnly(AsyncSession):
    """The user's own, which restricts what its statements find."""

    async def execute(self, statement: Any, *args: Any, **kwargs: Any) -> Any:
        """Execute a select of the first post."""
        return await super().execute(statement.where(Post.id == 1), *args, **kwargs)


class FirstOnlyBelow(Session):
    """The same in the session inside of it."""

    def execute(self, statement: Any, *args: Any, **kwargs: Any) -> Any:
        """Execute a select of the first post."""
        return super().execute(statement.where(Post.id == 1), *args, **kwargs)


class WithFirstOnlyBelow(AsyncSession):
    """A session with that one."""

    sync_session_class = FirstOnlyBelow


@pytest.mark.parametrize("session_class", [FirstOnly, WithFirstOnlyBelow])
async def test_classes_of_the_application(
    database: Database, database_url: str, session_class: type[AsyncSession]
):
    """They get a select of the user's, which they may change."""
    settings = DatabaseSettings(url=database_url)
    async with Database(settings, session_class=session_class) as own:
        for opened in (own.read_session(), own.session()):
            async with opened as session:
                assert await sent(session, IN_ORDER, list[PostOut]) == POSTS[:1]
    async with session_class(database.engine) as session:
        assert await sent(session, IN_ORDER, list[PostOut]) == POSTS[:1]


async def test_engine_that_a_class_chooses(database: Database):
    """It is asked with the mapper, by which SQLAlchemy's recipes choose an engine."""
    asked: list[Any] = []

    class Choosing(Session):
        def get_bind(self, mapper: Any = None, **options: Any) -> Any:
            asked.append(mapper)
            return super().get_bind(mapper, **options)

    async with AsyncSession(database.engine, sync_session_class=Choosing) as session:
        assert await sent(session, IN_ORDER, list[PostOut]) == POSTS
    assert asked[-1] is inspect(Post)


async def test_scoped_sessions(database: Database):
    """Those of SQLAlchemy stand for a session."""
    sessions = async_scoped_session(async_sessionmaker(database.engine), asyncio.current_task)
    session: Any = sessions
    try:
        assert await sent(session, IN_ORDER, list[PostOut]) == POSTS
    finally:
        await sessions.remove()


@pytest.mark.parametrize("name", ["engine", "read_engine"])
async def test_listeners_that_change_statements(database: Database, name: str):
    """``before_execute`` of an engine gets a select, and may restrict it."""

    def first_only(connection: Any, clause: Any, *arguments: Any) -> Any:
        changed = clause.where(Post.id == 1) if isinstance(clause, Select) else clause
        return changed, *arguments[:2]

    engine = getattr(database, name).sync_engine
    async with database.read_session() as session:
        assert await sent(session, IN_ORDER, list[PostOut]) == POSTS
    event.listen(engine, "before_execute", first_only, retval=True)
    async with database.read_session() as session:
        assert await sent(session, IN_ORDER, list[PostOut]) == POSTS[:1]


async def test_execution_options(database: Database):
    """Those of a statement are applied."""
    seen: list[object] = []

    def note(*arguments: Any) -> None:
        seen.append(arguments[4].execution_options.get("mark"))

    with listening_on_engines({"before_cursor_execute": note}):
        async with database.read_session() as session:
            assert await sent(session, IN_ORDER, list[Title]) == TITLES
            await sent(session, IN_ORDER.execution_options(mark="here"), list[Title])
    assert seen == [None, "here"]


async def test_pending_changes_are_refused(database: Database):
    """A session that reads does not lose them in silence."""
    with pytest.raises(ReadOnlySession):
        async with database.read_session() as session:
            session.add(Post(id=9, author_id=1, title="New"))
            await answer(session, IN_ORDER, list[Title])
    async with database.read_session() as session:
        assert await sent(session, IN_ORDER, list[Title]) == TITLES


async def test_session_that_has_ended(database: Database):
    """It refuses an answer as it refuses any other use."""
    async with database.read_session() as session:
        await answer(session, IN_ORDER, list[Title])
    with pytest.raises(SessionClosed):
        await answer(session, IN_ORDER, list[Title])


async def test_error_of_the_statement(database: Database):
    """The connection is back, and the session goes on."""
    async with database.read_session() as session:
        wrong = IN_ORDER.where(func.no_such_function(Post.id) == 1)
        with pytest.raises(Exception, match="no_such_function"):
            await answer(session, wrong, list[Title])
        assert checked_out(database) == 0
        assert await sent(session, IN_ORDER, list[Title]) == TITLES


@pytest.mark.databases("postgresql-asyncpg", "postgresql-psycopg")
async def test_cancelled_answer(database: Database):
    """The statement ends, and its connection is back or replaced."""
    slow = IN_ORDER.where(func.pg_sleep(30).is_not(None))

    async def read() -> None:
        async with database.read_session() as session:
            await answer(session, slow, list[Title])

    for _ in range(3):
        task = asyncio.create_task(read())
        async with asyncio.timeout(10):
            while not checked_out(database):
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert checked_out(database) == 0
            async with database.read_session() as session:
                assert await sent(session, IN_ORDER, list[Title]) == TITLES


@pytest.mark.databases("postgresql-asyncpg", "postgresql-psycopg")
async def test_slow_answer_is_warned_of(
    database: Database, database_url: str, caplog: pytest.LogCaptureFixture
):
    """The warning names the line that has the connection."""
    slow = select(Post).where(func.pg_sleep(0.5).is_not(None)).limit(1)
    settings = DatabaseSettings(url=database_url, hold_warning=0.1)
    with caplog.at_level(logging.WARNING):
        async with Database(settings) as impatient, impatient.read_session() as session:
            await answer(session, slow, list[Title])
    [message] = [each for each in caplog.messages if "has had a database connection" in each]
    assert __file__ in message


async def test_tasks_of_one_session(database: Database):
    """Answers at the same time in one session are refused, as all its calls are."""
    async with database.read_session() as session:
        tasks = [asyncio.create_task(sent(session, IN_ORDER, list[PostOut])) for _ in range(2)]
        found = await asyncio.gather(*tasks, return_exceptions=True)
    assert found[0] == POSTS
    assert type(found[1]).__name__ == "ConcurrentSessionUse"
