"""The statements of an answer: one, with the columns of the schema."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from pydantic import BaseModel
from sqlalchemy import ForeignKey, MetaData, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import (
    Mapped,
    aliased,
    joinedload,
    mapped_column,
    relationship,
    selectinload,
)

from fastapi_asyncdb import (
    CursorPage,
    CursorQuery,
    Database,
    Page,
    PageQuery,
    Related,
    answer,
    rows,
)
from fastapi_asyncdb.dialects import json_of
from fastapi_asyncdb.testing import assert_queries, count_queries
from tests.data.answers.forum import (
    POSTS,
    TITLES,
    Base,
    Checked,
    Post,
    PostOut,
    TagOut,
    Title,
    fill,
    sent,
)

IN_ORDER = select(Post).order_by(Post.id)


@pytest.fixture
def tables() -> MetaData:
    """The tables of ``database``."""
    return Base.metadata


@pytest.fixture(autouse=True)
async def _filled(database: Database) -> None:
    await fill(database)


def of_relationships(database: Database) -> int:
    """Return how many statements read posts with all that is related."""
    # Posts, authors, tags, comments, authors of comments.
    return 5 if json_of(database.engine.dialect) is None else 1


async def test_one_statement_reads_all_relationships(database: Database):
    """On MySQL there is one for each relationship; nowhere is there one for each row."""
    async with database.read_session() as session:
        with assert_queries(database, exactly=of_relationships(database)):
            assert await sent(session, IN_ORDER, list[PostOut]) == POSTS
        with assert_queries(database, exactly=of_relationships(database)):
            assert await sent(session, IN_ORDER.where(Post.id == 1), PostOut) == POSTS[0]


async def test_pages_take_one_statement(database: Database):
    """With the total; and with the values of the cursors."""
    async with database.read_session() as session:
        with assert_queries(database, exactly=of_relationships(database)):
            page = await sent(session, IN_ORDER, Page[PostOut], page=PageQuery(limit=2))
        assert (page["items"], page["total"]) == (POSTS[:2], 3)
        with assert_queries(database, exactly=of_relationships(database)):
            step = await sent(session, IN_ORDER, CursorPage[PostOut], page=CursorQuery(limit=2))
        assert step["items"] == POSTS[:2]


async def test_values_take_one_statement(database: Database):
    """Also where they are no JSON for a client."""
    async with database.read_session() as session:
        with assert_queries(database, exactly=of_relationships(database)):
            found = await rows(session, IN_ORDER, PostOut)
    assert [each.model_dump() for each in found] == POSTS


@pytest.mark.parametrize("schema", [Title, Checked])
async def test_columns_that_the_schema_lacks_are_not_read(database: Database, schema: Any):
    """Neither where the database builds the JSON, nor where Pydantic does."""
    async with database.read_session() as session:
        with count_queries(database) as seen:
            assert await sent(session, IN_ORDER, list[schema]) == TITLES
    [statement] = seen.statements
    assert "title" in statement.sql
    assert not [name for name in ("body", "views", "made_at") if name in statement.sql]


@pytest.mark.usefixtures("_builds_json")
async def test_columns_of_relationships_are_not_read(database: Database):
    """The password of the authors stays where it is."""
    async with database.read_session() as session:
        with count_queries(database) as seen:
            await sent(session, IN_ORDER, list[PostOut])
    assert "password" not in seen.statements[0].sql


async def test_loader_options_are_of_no_use(database: Database):
    """What a statement loads beside its objects is not read, since there are none."""
    loads = IN_ORDER.options(selectinload(Post.comments), joinedload(Post.tags))
    async with database.read_session() as session:
        with assert_queries(database, exactly=1):
            assert await sent(session, loads, list[Title]) == TITLES


@pytest.mark.usefixtures("_builds_json")
async def test_text_of_a_statement_is_compiled_once(database: Database):
    """SQLAlchemy finds it in its cache: the same expression stands for the JSON each time."""
    cache: Any = database.read_engine.sync_engine._compiled_cache
    async with database.read_session() as session:
        await sent(session, IN_ORDER.where(Post.id == 1), PostOut)
        size = len(cache)
        assert await sent(session, IN_ORDER.where(Post.id == 2), PostOut) == POSTS[1]
        assert await sent(session, IN_ORDER.where(Post.id == 3), PostOut) == POSTS[2]
        assert len(cache) == size


@pytest.mark.usefixtures("_builds_json")
async def test_schemas_of_one_model_are_told_apart_in_the_cache(database: Database):
    """Two schemas, or two sets of conditions in a schema, never share a statement."""

    class Short(BaseModel):
        id: int

    class Long(BaseModel):
        id: int
        views: int

    class OneTag(BaseModel):
        tags: Annotated[list[TagOut], Related(limit=1)]

    class TwoTags(BaseModel):
        tags: Annotated[list[TagOut], Related(limit=2)]

    first = IN_ORDER.where(Post.id == 1)
    async with database.read_session() as session:
        for _ in range(2):
            assert await sent(session, IN_ORDER, list[Short]) == [{"id": n} for n in (1, 2, 3)]
            assert await sent(session, IN_ORDER, list[Long]) == [
                {"id": 1, "views": 10},
                {"id": 2, "views": 30},
                {"id": 3, "views": 20},
            ]
            assert await sent(session, IN_ORDER, list[Title]) == TITLES
            assert await sent(session, first, OneTag) == {"tags": POSTS[0]["tags"][:1]}
            assert await sent(session, first, TwoTags) == {"tags": POSTS[0]["tags"]}


class Branch(Base):
    """It is related to itself."""

    __tablename__ = "forum_tree"
    id: Mapped[int] = mapped_column(primary_key=True)
    above_id: Mapped[int | None] = mapped_column(ForeignKey("forum_tree.id"))
    below: Mapped[list[Branch]] = relationship(order_by=lambda: Branch.id)


class Tree(BaseModel):
    """Nothing but Pydantic follows it to its end."""

    id: int
    below: list[Tree]


class Forest(BaseModel):
    name: int = 0
    below: list[Tree]


@pytest.mark.parametrize("schema", [Tree, Forest])
async def test_a_schema_that_contains_itself(database: Database, schema: Any):
    """There is one statement for each depth; the deepest finds nothing."""
    async with database.session() as session:
        session.add(
            Branch(id=1, below=[Branch(id=2, below=[Branch(id=4), Branch(id=5)]), Branch(id=3)])
        )
    below = [
        {"id": 2, "below": [{"id": 4, "below": []}, {"id": 5, "below": []}]},
        {"id": 3, "below": []},
    ]
    node = aliased(Branch)
    async with database.read_session() as session:
        for roots in (
            select(Branch).where(Branch.above_id.is_(None)),
            select(node).where(node.above_id.is_(None)),
        ):
            with assert_queries(database, exactly=4):
                assert (await sent(session, roots, schema))["below"] == below


async def test_statements_stay_as_they_are(database: Database):
    """The same one is answered, paged, streamed and executed, in any order."""
    before = str(IN_ORDER)
    async with database.read_session() as session:
        for _ in range(2):
            assert await sent(session, IN_ORDER, list[PostOut]) == POSTS
            page = await sent(session, IN_ORDER, Page[Title], page=PageQuery())
            assert page["items"] == TITLES
            assert [post.id for post in await session.scalars(IN_ORDER)] == [1, 2, 3]
            assert [each.id for each in await rows(session, IN_ORDER, Title)] == [1, 2, 3]
            response = await answer.stream(session, IN_ORDER, Title)
            assert len([chunk async for chunk in response.body_iterator]) == 1
    assert str(IN_ORDER) == before


async def test_engines_of_single_classes(database: Database):
    """A session finds the engine by the class of the statement, as with any select."""
    binds: Any = {Base: database.engine}
    async with AsyncSession(binds=binds) as session:
        assert await sent(session, IN_ORDER, list[PostOut]) == POSTS
        assert await sent(session, IN_ORDER, list[Checked]) == TITLES
