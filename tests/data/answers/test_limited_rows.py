"""Lists and pages of joined rows with a limit, of which MariaDB finds the rows first."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import MetaData, Select, bindparam, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased, with_loader_criteria

from fastapi_asyncdb import CursorPage, CursorQuery, Database, Page, PageQuery
from fastapi_asyncdb.testing import count_queries
from tests.data.answers.forum import (
    NOON,
    POSTS,
    Author,
    Base,
    Comment,
    CommentOut,
    Post,
    PostOut,
    fill,
    sent,
)
from tests.support.databases import MARIADB

JOINED = select(Post).join(Post.author)


@pytest.fixture
def tables() -> MetaData:
    """The tables of ``database``."""
    return Base.metadata


@pytest.fixture(autouse=True)
async def _filled(database: Database) -> None:
    await fill(database)


def by_author(posts: Select[Any]) -> Select[Any]:
    """Return posts by the name of their author, the last first."""
    return posts.order_by(Author.name.desc(), Post.id.desc())


ABOVE = aliased(Author)
STATEMENTS: list[tuple[Select[Any], list[int]]] = [
    (by_author(JOINED), [2, 3, 1]),
    (by_author(JOINED.where(Author.name == "Ada")), [3, 1]),
    (by_author(JOINED).options(with_loader_criteria(Post, Post.id > 1)), [2, 3]),
    (by_author(JOINED).with_for_update(), [2, 3, 1]),
    (JOINED.order_by(func.lower(Author.name), Post.id), [1, 3, 2]),
    (JOINED.order_by(func.length(Author.name).label("length"), -Post.id), [3, 2, 1]),
    (JOINED.order_by(Author.name != bindparam("who", "Bob"), Post.id), [2, 1, 3]),
    (JOINED.order_by(text("forum_post.id DESC")), [3, 2, 1]),
    (select(Post).join(ABOVE, Post.author).order_by(ABOVE.id.desc(), Post.id), [2, 1, 3]),
    (select(Post).where(Author.id == Post.author_id).order_by(-Author.id, Post.id), [2, 1, 3]),
]


@pytest.mark.parametrize(("statement", "expected"), STATEMENTS)
async def test_lists(database: Database, statement: Any, expected: list[int]):
    """Of rows in the order of another table; with what is related to them, and nothing else."""
    posts = [POSTS[number - 1] for number in expected]
    async with database.session() as session:
        for limit, offset in ((1, 0), (2, 1), (9, 0), (0, 0)):
            limited = statement.limit(limit).offset(offset)
            found = await sent(session, limited, list[PostOut])
            assert found == posts[offset:][:limit]


async def test_deleted_rows(database: Database):
    """They are found with the option of the statement only."""
    statement = select(Comment).join(Comment.post).order_by(Post.title.desc(), Comment.id).limit(1)
    async with database.read_session() as session:
        [found] = await sent(session, statement, list[CommentOut])
        assert found["text"] == "nice"
        statement = statement.execution_options(include_deleted=True)
        [found] = await sent(session, statement, list[CommentOut])
        assert found["text"] == "spam"


async def test_pages(database: Database):
    """With the number of all rows; and there and back with cursors."""
    async with database.read_session() as session:
        statement = by_author(JOINED)
        found = await sent(session, statement, Page[PostOut], page=PageQuery(1, 1))
        assert (found["items"], found["total"], found["has_more"]) == ([POSTS[2]], 3, True)
        first = await sent(session, statement, CursorPage[PostOut], page=CursorQuery(None, 2))
        assert first["items"] == [POSTS[1], POSTS[2]]
        query = CursorQuery(first["next_cursor"], 2)
        last = await sent(session, statement, CursorPage[PostOut], page=query)
        assert last["items"] == [POSTS[0]]
        query = CursorQuery(last["previous_cursor"], 1)
        back = await sent(session, statement, CursorPage[PostOut], page=query)
        assert back["items"] == [POSTS[2]]


async def test_null_in_the_order(database: Database):
    """It has its place among the rows that are found, and among those that are sent."""
    comments = select(Comment).outerjoin(Author, Author.id == Comment.author_id)
    async with database.session() as session:
        session.add(Comment(id=9, post_id=2, author_id=2, text="last", deleted_at=None))
        await session.flush()
        for by in (Author.name.asc(), Author.name.desc()):
            statement = comments.order_by(by, Comment.id)
            expected = [{"text": each.text} for each in await session.scalars(statement.limit(3))]
            found = await sent(session, statement.limit(3), list[CommentOut])
            assert [{"text": each["text"]} for each in found] == expected


async def reads(session: AsyncSession) -> int:
    """Return how many rows the server has read for a session."""
    rows = await session.execute(text("SHOW STATUS LIKE 'Handler_read%'"))
    return sum(int(row[1]) for row in rows)


@pytest.mark.databases(*MARIADB)
@pytest.mark.usefixtures("_builds_json")
async def test_other_rows_are_not_read(database: Database):
    """Of rows that LIMIT leaves out, nothing that is related is read."""
    async with database.session() as session:
        session.add_all(Comment(post_id=1, text=str(number)) for number in range(300))
    async with database.read_session() as session:
        statement = by_author(JOINED.where(Post.made_at == NOON))
        before = await reads(session)
        assert await sent(session, statement.limit(1), list[PostOut]) == [POSTS[1]]
        assert await reads(session) - before < 300
        with count_queries(database) as seen:
            await sent(session, select(Post).order_by(Post.id).limit(1), list[PostOut])
    assert "answer_rows" not in seen.statements[0].sql
