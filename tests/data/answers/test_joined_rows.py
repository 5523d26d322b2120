"""A list that the database builds comes as one row, whose text has all rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import MetaData, event, func, insert, select
from sqlalchemy.orm import ORMExecuteState, Session, with_loader_criteria

from fastapi_asyncdb import Database, answer, rows
from fastapi_asyncdb.testing import count_queries
from tests.data.answers.forum import (
    POSTS,
    TITLES,
    Base,
    Post,
    PostOut,
    Tag,
    TagOut,
    Title,
    fill,
    sent,
)

pytestmark = pytest.mark.databases("sqlite", "postgresql-asyncpg", "postgresql-psycopg")
BACKWARDS = select(Post).order_by(Post.id.desc())


@pytest.fixture
def tables() -> MetaData:
    """The tables of ``database``."""
    return Base.metadata


@pytest.fixture(autouse=True)
async def _filled(database: Database) -> None:
    await fill(database)


@contextmanager
def listening(listener: Any) -> Iterator[None]:
    """Call a listener for each statement of a session."""
    event.listen(Session, "do_orm_execute", listener)
    try:
        yield
    finally:
        event.remove(Session, "do_orm_execute", listener)


async def test_order_and_limit_are_those_of_the_rows(database: Database):
    """The text has them in the order of the statement."""
    async with database.read_session() as session:
        assert await sent(session, BACKWARDS, list[Title]) == TITLES[::-1]
        assert await sent(session, BACKWARDS.limit(2), list[PostOut]) == POSTS[:0:-1]
        assert [each.model_dump() for each in await rows(session, BACKWARDS, Title)] == TITLES[::-1]


async def test_the_database_returns_one_row(database: Database):
    """Of a list with rows, and of one without."""
    async with database.read_session() as session:
        with count_queries(database) as seen:
            await sent(session, BACKWARDS, list[Title])
        [statement] = seen.statements
        connection = await session.connection()
        found = (await connection.exec_driver_sql(statement.sql)).all()
        assert len(found) == 1
        assert found[0][0].count('"title"') == len(TITLES)
        assert await sent(session, BACKWARDS.where(Post.id < 0), list[Title]) == []
        assert await rows(session, BACKWARDS.where(Post.id < 0), Title) == []


@pytest.mark.databases("postgresql-asyncpg", "postgresql-psycopg")
async def test_text_is_as_short_as_that_of_pydantic(database: Database):
    """PostgreSQL writes no spaces either."""
    expected = json.dumps(POSTS, separators=(",", ":"))
    async with database.read_session() as session:
        response = await answer(session, select(Post).order_by(Post.id), list[PostOut])
    assert bytes(response.body) == expected.encode()


async def test_listeners_change_the_rows(database: Database):
    """A condition, or a criterion, of a listener is one of the rows, and not of their text."""

    def only_second(state: ORMExecuteState) -> None:
        state.statement = state.statement.where(Post.id == 2)  # type: ignore[attr-defined]

    def not_first(state: ORMExecuteState) -> None:
        criterion = with_loader_criteria(Post, Post.id > 1)
        state.statement = state.statement.options(criterion)

    async with database.read_session() as session:
        with listening(only_second):
            assert await sent(session, BACKWARDS, list[Title]) == TITLES[1:2]
        with listening(not_first):
            assert await sent(session, BACKWARDS, list[Title]) == TITLES[:0:-1]
        assert await sent(session, BACKWARDS, list[Title]) == TITLES[::-1]


async def test_common_table_expressions(database: Database):
    """They stay where they are, since one that writes may be in no subquery."""
    chosen = select(Post.id).where(Post.id > 1).cte("chosen")
    async with database.read_session() as session:
        found = await sent(session, BACKWARDS.join(chosen, chosen.c.id == Post.id), list[Title])
    assert found == TITLES[:0:-1]


@pytest.mark.databases("postgresql-asyncpg", "postgresql-psycopg")
async def test_common_table_expression_that_writes(database: Database):
    """The statement stores a row, and answers with others."""
    stored = insert(Tag).values(id=9, name="stored").returning(Tag.id).cte("stored")
    tags = select(Tag).add_cte(stored).order_by(Tag.id)
    async with database.session() as session:
        before = await sent(session, select(Tag).order_by(Tag.id), list[TagOut])
        assert await sent(session, tags, list[TagOut]) == before
        assert await session.scalar(select(func.count(Tag.id))) == len(before) + 1


async def test_streams_have_a_row_for_each_row(database: Database):
    """Where all of them were one text, it would be in memory at once."""
    async with database.read_session() as session:
        response = await answer.stream(session, BACKWARDS, Title, batch_size=1)
        parts = [part async for part in response.body_iterator]
    assert len(parts) == len(TITLES)
