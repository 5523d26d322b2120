"""Outer joins, whose rows may lack the object that a statement selects."""

from __future__ import annotations

import pytest
from pydantic import BaseModel
from sqlalchemy import MetaData, select
from sqlalchemy.orm import outerjoin

from fastapi_asyncdb import Database
from fastapi_asyncdb.data.answers.reader import plan_for
from tests.data.answers.fastapi_answer import assert_equal
from tests.data.answers.forum import TITLES, Base, Comment, Post, Title, fill, sent


class Optional(BaseModel):
    """What a row of NULL alone would fit."""

    text: str | None


WITHOUT = [
    select(Comment).select_from(Post).outerjoin(Post.comments),
    select(Comment).select_from(outerjoin(Post, Comment)),
    select(Comment).select_from(Post).join(Post.author).outerjoin(Post.comments),
]
WITH = [
    select(Post).outerjoin(Post.comments).where(Comment.id.is_(None) | (Comment.id == 1)),
    select(Post).select_from(Post).outerjoin(Post.comments.and_(Comment.id < 2)),
    select(Post).select_from(outerjoin(Post, Comment, Comment.id > 99)),
    select(Post).select_from(Comment).join(Comment.post).where(Comment.id == 1),
]


@pytest.fixture
def tables() -> MetaData:
    """The tables of ``database``."""
    return Base.metadata


@pytest.fixture(autouse=True)
async def _filled(database: Database) -> None:
    await fill(database)


@pytest.mark.parametrize("number", range(len(WITHOUT)))
async def test_rows_without_the_object(database: Database, number: int):
    """They are None, and no object whose values are all NULL."""
    async with database.read_session() as session:
        statement = WITHOUT[number].order_by(Post.id, Comment.id)
        assert None in (await session.scalars(statement)).all()
        session.expunge_all()
        await assert_equal(session, statement, Optional)


@pytest.mark.usefixtures("_builds_json")
@pytest.mark.parametrize("number", range(len(WITH)))
async def test_rows_with_the_object(database: Database, number: int):
    """The database builds their JSON."""
    statement = WITH[number].order_by(Post.id)
    async with database.read_session() as session:
        assert (await plan_for(session, statement, Title)).way == "database"
        found = await sent(session, statement, list[Title])
    assert all(each in TITLES for each in found)
