"""Statements that write, and answer with what they have written."""

from typing import Any

import pytest
from fastapi.exceptions import ResponseValidationError
from pydantic import BaseModel
from sqlalchemy import MetaData, Table, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Mapped, mapped_column, selectinload

from fastapi_asyncdb import Database, answer, rows
from fastapi_asyncdb.errors import ConfigurationError, NotFoundError, ReadOnlySession
from fastapi_asyncdb.testing import assert_queries
from tests.data.answers.forum import (
    ADA,
    BOB,
    POSTS,
    TITLES,
    Author,
    AuthorOut,
    Base,
    Checked,
    Comment,
    Post,
    PostOut,
    Tag,
    Title,
    fill,
    sent,
)

SCHEMAS = pytest.mark.parametrize("schema", [Title, Checked])
RETURNING = ("sqlite", "postgresql-asyncpg", "postgresql-psycopg")
"""The databases that have UPDATE ... RETURNING."""


class Whole(BaseModel):
    """With the defaults of Python and of the database."""

    id: int
    author_id: int
    title: str
    body: str
    views: int
    made_at: Any


class Serial(Base):
    __tablename__ = "forum_serial"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class IdOut(BaseModel):
    id: int


class NameOut(BaseModel):
    name: str


class Strict(BaseModel):
    """Its columns may be NULL."""

    id: int
    author_id: int


@pytest.fixture
def tables() -> MetaData:
    """The tables of ``database``."""
    return Base.metadata


@pytest.fixture(autouse=True)
async def _filled(database: Database) -> None:
    await fill(database)


async def stored(database: Database) -> list[Any]:
    """Return the ids and titles that another session sees."""
    async with database.read_session() as session:
        found = await session.execute(select(Post.id, Post.title).order_by(Post.id))
        return [tuple(row) for row in found]


@SCHEMAS
async def test_insert(database: Database, schema: Any):
    """One statement stores the row and reads it."""
    new = insert(Post).values(id=7, author_id=1, title="New")
    async with database.session() as session:
        with assert_queries(database, exactly=1):
            assert await sent(session, new, schema, status_code=201) == {"id": 7, "title": "New"}
    assert await stored(database) == [(1, "First"), (2, "Second"), (3, "Third"), (7, "New")]


async def test_defaults(database: Database):
    """Those of Python, and the key that the database gives."""
    async with database.session() as session:
        first = await sent(session, insert(Serial).values(name="a"), IdOut)
        second = await sent(session, insert(Serial).values(name="b"), IdOut)
        assert second["id"] > first["id"]
        whole = await sent(session, insert(Post).values(id=9, author_id=1, title="New"), Whole)
        assert whole.pop("made_at") == "2026-01-02T12:00:00Z"
        assert whole == {"id": 9, "author_id": 1, "title": "New", "body": "long", "views": 0}


@SCHEMAS
async def test_insert_many(database: Database, schema: Any):
    """The answer is the list of all rows."""
    new = insert(Post).values([{"id": n, "author_id": 1, "title": str(n)} for n in (7, 8)])
    expected = [{"id": 7, "title": "7"}, {"id": 8, "title": "8"}]
    async with database.session() as session:
        with assert_queries(database, exactly=1):
            assert await sent(session, new, list[schema]) == expected
    assert len(await stored(database)) == 5


@SCHEMAS
@pytest.mark.databases(*RETURNING)
async def test_update(database: Database, schema: Any):
    """One row, none, and several; objects of the session know what has changed."""
    async with database.session() as session:
        post = await session.get_one(Post, 1)
        with assert_queries(database, exactly=1):
            renamed = update(Post).where(Post.id == 1).values(title="Renamed")
            assert await sent(session, renamed, schema) == {"id": 1, "title": "Renamed"}
        assert post.title == "Renamed"
        nothing = update(Post).where(Post.id == 99).values(title="Lost")
        with pytest.raises(NotFoundError, match="There is no such Post"):
            await answer(session, nothing, schema)
        assert await sent(session, nothing, schema | None) is None
        more = update(Post).where(Post.id > 1).values(title=func.upper(Post.title))
        assert sorted(each["title"] for each in await sent(session, more, list[schema])) == [
            "SECOND",
            "THIRD",
        ]
        of_bob = update(Post).where(Post.author_id == Author.id, Author.name == "Bob")
        assert await sent(session, of_bob.values(title="2"), schema) == {"id": 2, "title": "2"}
    assert await stored(database) == [(1, "Renamed"), (2, "2"), (3, "THIRD")]


@pytest.mark.databases("mariadb-asyncmy", "mariadb-aiomysql")
async def test_update_that_cannot_answer(database: Database):
    """MariaDB has no UPDATE ... RETURNING: the error says so, and what to do instead."""
    renamed = update(Post).where(Post.id == 1).values(title="Renamed")
    async with database.session() as session:
        for schema in (Title, PostOut):
            with pytest.raises(ConfigurationError, match=r"no UPDATE \.\.\. RETURNING.* select\("):
                await answer(session, renamed, schema)
        with pytest.raises(ConfigurationError, match="no UPDATE"):
            await rows(session, renamed, Title)
    assert (await stored(database))[0] == (1, "First")


@SCHEMAS
async def test_delete(database: Database, schema: Any):
    """The rows as they were."""
    async with database.session() as session:
        await session.execute(delete(Comment))
        await session.execute(delete(Base.metadata.tables["forum_post_tag"]))
        gone = delete(Post).where(Post.id != 1)
        with assert_queries(database, exactly=1):
            found = await sent(session, gone, list[schema])
        assert sorted(found, key=lambda each: each["id"]) == TITLES[1:]
        assert await sent(session, delete(Post).where(Post.id == 1), schema) == TITLES[0]
    assert await stored(database) == []


async def test_insert_with_relationships(database: Database):
    """They are read after it, with one statement each; in the order that was written."""
    new = insert(Post).values([{"id": n, "author_id": 2, "title": str(n)} for n in (8, 7)])
    expected: list[Any] = [
        {"id": n, "title": str(n), "author": BOB, "tags": [], "comments": []} for n in (8, 7)
    ]
    async with database.session() as session:
        with assert_queries(database, max=5):
            assert await sent(session, new, list[PostOut]) == expected
        one = insert(Post).values(id=9, author_id=1, title="One")
        assert (await sent(session, one, PostOut))["author"] == ADA


@pytest.mark.databases(*RETURNING)
async def test_update_with_relationships(database: Database):
    """Those of after the update, also where objects of the session have others."""
    async with database.session() as session:
        loaded = select(Post).where(Post.id == 3).options(selectinload(Post.author))
        post = (await session.scalars(loaded)).one()
        moved = update(Post).where(Post.id == 3).values(author_id=2)
        assert await sent(session, moved, PostOut) == POSTS[2] | {"author": BOB}
        assert post.author.name == "Bob"


async def test_delete_with_relationships(database: Database):
    """What is related cannot be read any more: the error says what to do."""
    async with database.session() as session:
        gone = delete(Post).where(Post.id == 2)
        with pytest.raises(ConfigurationError, match=r"DELETE.*relationships"):
            await answer(session, gone, PostOut)
    assert len(await stored(database)) == 3


@pytest.mark.databases(*RETURNING)
async def test_soft_delete_with_relationships(database: Database):
    """The row is answered although queries do not find it any more."""

    class Owner(BaseModel):
        name: str
        posts: list[Title]

    async with database.session() as session:
        gone = update(Author).where(Author.id == 2).values(deleted_at=func.now())
        assert await sent(session, gone, Owner) == {"name": "Bob", "posts": [TITLES[1]]}
        assert await sent(session, gone, AuthorOut) == BOB


@pytest.mark.databases(*RETURNING)
async def test_upsert(database: Database):
    """What a database adds to INSERT is a statement as well."""
    of = sqlite if database.engine.dialect.name == "sqlite" else postgresql
    new: Any = of.insert(Tag).values(id=1, name="renamed")
    async with database.session() as session:
        renamed = new.on_conflict_do_update(index_elements=["id"], set_={"name": "renamed"})
        assert await sent(session, renamed, NameOut) == {"name": "renamed"}
        ignored = new.on_conflict_do_nothing()
        assert await sent(session, ignored, NameOut | None) is None


async def test_insert_from_select(database: Database):
    """The rows are made by the database."""
    source = select(Tag.id + 10, Tag.name + "!", Tag.weight).where(Tag.id < 3)
    copied = insert(Tag).from_select(["id", "name", "weight"], source)
    async with database.session() as session:
        found = await sent(session, copied, list[NameOut])
    assert sorted(each["name"] for each in found) == ["sql!", "web!"]


async def test_values_of_what_was_written(database: Database):
    """``rows()`` returns models instead of a response."""
    async with database.session() as session:
        new = insert(Post).values(id=7, author_id=1, title="New")
        assert await rows(session, new, Title) == [Title(id=7, title="New")]


async def test_row_that_does_not_fit(database: Database):
    """It is an error, and the transaction of a request is rolled back with it."""
    new = insert(Comment).values(id=50, post_id=1, text="of none")
    with pytest.raises(ResponseValidationError, match=r"author_id|NULL"):
        async with database.session() as session:
            await answer(session, new, Strict)
    async with database.read_session() as session:
        assert await session.get(Comment, 50) is None


async def test_what_is_refused(database: Database):
    """A RETURNING of its own, a table, and a session that reads."""
    table: Any = Post.__table__
    assert isinstance(table, Table)
    new = insert(Post).values(id=7, author_id=1, title="New")
    async with database.session() as session:
        for schema in (Title, PostOut):
            with pytest.raises(ConfigurationError, match=r"a returning\(\) of its own"):
                await answer(session, new.returning(Post.id), schema)
            with pytest.raises(ConfigurationError, match=r"table 'forum_post'.*insert\(Post\)"):
                await answer(session, insert(table).values(id=7), schema)
    async with database.read_session() as session:
        with pytest.raises(ReadOnlySession):
            await answer(session, new, Title)
    assert len(await stored(database)) == 3
