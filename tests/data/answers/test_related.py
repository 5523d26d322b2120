"""``Related``: which rows of a relationship a field has, in which order, and how many."""

import json
from typing import Annotated, Any

import pytest
from pydantic import BaseModel
from sqlalchemy import MetaData, bindparam, inspect, select, text
from sqlalchemy.orm import selectinload, with_loader_criteria

from fastapi_asyncdb import Database, Page, PageQuery, Related, answer, rows
from fastapi_asyncdb.dialects import json_of
from fastapi_asyncdb.testing import assert_queries
from tests.data.answers.forum import (
    BOB,
    NOON,
    POSTS,
    Author,
    AuthorOut,
    Base,
    Comment,
    Post,
    TagOut,
    fill,
    sent,
)

IN_ORDER = select(Post).order_by(Post.id)


class Text(BaseModel):
    text: str


class Web(BaseModel):
    """Conditions, with a value and with another table."""

    id: int
    tags: Annotated[list[TagOut], Related(where=lambda tag: tag.name == "web")]
    comments: Annotated[
        list[Text],
        Related(where=lambda comment: (comment.author.has(Author.name == "Bob"), comment.id < 9)),
    ]


class CheckedWeb(Web):
    def model_post_init(self, context: Any) -> None:
        """Keep the database from building the JSON."""


class Latest(BaseModel):
    """The last two comments of each post."""

    id: int
    comments: Annotated[list[Text], Related(order_by=lambda each: each.id.desc(), limit=2)]


class CheckedLatest(Latest):
    def model_post_init(self, context: Any) -> None:
        """Keep the database from building the JSON."""


class Tagged(BaseModel):
    id: int
    tags: list[TagOut]


@pytest.fixture
def tables() -> MetaData:
    """The tables of ``database``."""
    return Base.metadata


@pytest.fixture(autouse=True)
async def _filled(database: Database) -> None:
    await fill(database)


@pytest.mark.parametrize("schema", [Web, CheckedWeb])
async def test_conditions(database: Database, schema: Any):
    """Only the rows that fulfil them are related, on every database; the parents stay."""
    web = [{"name": "web"}]
    expected = [
        {"id": 1, "tags": web, "comments": [{"text": "nice"}]},
        {"id": 2, "tags": [], "comments": []},
        {"id": 3, "tags": web, "comments": []},
    ]
    async with database.read_session() as session:
        assert await sent(session, IN_ORDER, list[schema]) == expected
        page = await sent(session, IN_ORDER, Page[schema], page=PageQuery(limit=2))
        assert (page["items"], page["total"]) == (expected[:2], 3)
        assert [each.model_dump() for each in await rows(session, IN_ORDER, schema)] == expected


@pytest.mark.parametrize("schema", [Web, CheckedWeb])
async def test_conditions_of_objects_that_the_session_has(database: Database, schema: Any):
    """A collection that is loaded already is no answer to them."""
    async with database.session() as session:
        whole = IN_ORDER.options(selectinload(Post.tags), selectinload(Post.comments))
        kept = (await session.scalars(whole)).all()
        found = await sent(session, IN_ORDER.where(Post.id == 1), schema)
        assert found == {"id": 1, "tags": [{"name": "web"}], "comments": [{"text": "nice"}]}
        await session.refresh(kept[0], ["tags"])
        assert [tag.name for tag in kept[0].tags] == ["sql", "web"]


async def test_narrowed_collections_do_not_stay(database: Database):
    """An object of the session never has a part of a collection as if it were the whole."""

    class Busy(BaseModel):
        posts: list[Web]

    class CheckedBusy(CheckedWeb):
        author: Busy

    async with database.session() as session:
        kept = (await session.scalars(IN_ORDER)).all()
        ada = await session.get_one(Author, 1)
        await answer(session, IN_ORDER.where(Post.id == 1), CheckedBusy)
        for post in kept:
            assert "tags" in inspect(post).unloaded
            assert "comments" in inspect(post).unloaded
        assert "posts" not in inspect(ada).unloaded


async def test_pending_changes_are_kept(database: Database):
    """They are flushed before; without autoflush, the objects keep them."""
    async with database.session() as session:
        post = await session.get_one(Post, 1)
        post.title = "Flushed"
        await answer(session, IN_ORDER, list[CheckedWeb])
        assert post.title == "Flushed"
        session.sync_session.autoflush = False
        post.title = "Pending"
        await answer(session, IN_ORDER, list[CheckedWeb])
        assert post.title == "Pending"


async def test_condition_of_a_relationship_to_one(database: Database):
    """The field is null where the row does not fulfil it."""

    class OfBob(BaseModel):
        id: int
        author: Annotated[AuthorOut | None, Related(where=lambda author: author.name == "Bob")]

    async with database.read_session() as session:
        assert await sent(session, IN_ORDER, list[OfBob]) == [
            {"id": 1, "author": None},
            {"id": 2, "author": BOB},
            {"id": 3, "author": None},
        ]


@pytest.mark.parametrize("schema", [Latest, CheckedLatest])
async def test_order_and_limit(database: Database, schema: Any):
    """The limit is of each parent; rows that are deleted do not count."""
    async with database.session() as session:
        session.add_all(Comment(id=5 + n, post_id=2, text=str(n)) for n in range(3))
        session.add(Comment(id=9, post_id=2, text="deleted", deleted_at=NOON))
    expected = [
        {"id": 1, "comments": [{"text": "of none"}, {"text": "of a deleted author"}]},
        {"id": 2, "comments": [{"text": "2"}, {"text": "1"}]},
        {"id": 3, "comments": []},
    ]
    builds = json_of(database.engine.dialect) is not None and schema is Latest
    async with database.read_session() as session:
        with assert_queries(database, exactly=1 if builds else 2):
            assert await sent(session, IN_ORDER, list[schema]) == expected
        page = await sent(session, IN_ORDER, Page[schema], page=PageQuery(limit=2))
        assert page["items"] == expected[:2]
        assert [each.model_dump() for each in await rows(session, IN_ORDER, schema)] == expected
        response = await answer.stream(session, IN_ORDER, schema, format="json", batch_size=2)
        chunks = [str(chunk) async for chunk in response.body_iterator]
        assert json.loads("".join(chunks)) == expected
        everything = IN_ORDER.execution_options(include_deleted=True)
        [_, second, _] = await sent(session, everything, list[schema])
        assert second["comments"] == [{"text": "deleted"}, {"text": "2"}]


@pytest.mark.parametrize("distinct", [False, True])
async def test_nested_orders_and_limits(database: Database, distinct: bool):
    """Below each other, through a table between, and in several keys; also of objects."""

    class Heavy(BaseModel):
        id: int
        tags: Annotated[
            list[TagOut], Related(order_by=lambda tag: [tag.weight.desc(), tag.name], limit=1)
        ]

    class Busy(BaseModel):
        name: str
        posts: Annotated[list[Heavy], Related(order_by=lambda post: post.id.desc())]

    authors = select(Author).order_by(Author.id)
    statement = authors.distinct() if distinct else authors
    builds = json_of(database.engine.dialect) is not None and not distinct
    async with database.read_session() as session:
        with assert_queries(database, exactly=1 if builds else 3):
            assert await sent(session, statement, list[Busy]) == [
                {
                    "name": "Ada",
                    "posts": [
                        {"id": 3, "tags": [{"name": "web"}]},
                        {"id": 1, "tags": [{"name": "sql"}]},
                    ],
                },
                {"name": "Bob", "posts": [{"id": 2, "tags": []}]},
            ]


async def test_order_of_the_relationship(database: Database):
    """It is the order where the schema has none, on every database."""

    class Listed(BaseModel):
        name: str
        posts: list[Tagged]

    async with database.read_session() as session:
        [ada, _] = await sent(session, select(Author).order_by(Author.id), list[Listed])
        assert [post["id"] for post in ada["posts"]] == [1, 3]
        assert ada["posts"][0]["tags"] == POSTS[0]["tags"]


@pytest.mark.parametrize("checked", [False, True])
@pytest.mark.parametrize("descends", [False, True])
async def test_null_has_its_place_in_the_order(database: Database, descends: bool, checked: bool):
    """Where the database has it in the order of a statement."""

    def order(comment: Any) -> list[Any]:
        by = comment.author_id - 2
        return [by.desc() if descends else by, comment.id.desc()]

    class Number(BaseModel):
        id: int

    class Numbers(BaseModel):
        comments: Annotated[list[Number], Related(order_by=order)]

    async with database.session() as session:
        session.add_all(
            Comment(id=9 + n, post_id=3, text="", author_id=author)
            for n, author in enumerate((1, None, 3, 2, None, 1))
        )
    async with database.read_session() as session:
        comments = select(Comment.id).where(Comment.post_id == 3).order_by(*order(Comment))
        expected = [{"id": number} for number in await session.scalars(comments)]
        third = select(Post).where(Post.id == 3)
        found = await sent(session, third.distinct() if checked else third, Numbers)
    assert found == {"comments": expected}


async def test_no_rows_at_all(database: Database):
    """A limit of zero is an empty list."""

    class Empty(BaseModel):
        id: int
        tags: Annotated[list[TagOut], Related(limit=0)]

    first = IN_ORDER.where(Post.id == 1)
    async with database.read_session() as session:
        for statement in (first, first.distinct()):
            assert await sent(session, statement, Empty) == {"id": 1, "tags": []}


async def test_value_that_is_found_when_the_statement_runs(database: Database):
    """The function is not called for each answer; a value of each request is a ``callable_``."""
    now = ["web"]

    class Now(BaseModel):
        tags: Annotated[
            list[TagOut],
            Related(where=lambda tag: tag.name == bindparam(None, callable_=lambda: now[0])),
        ]

    class CheckedNow(Now):
        def model_post_init(self, context: Any) -> None:
            """Keep the database from building the JSON."""

    first = IN_ORDER.where(Post.id == 1)
    async with database.read_session() as session:
        for name in ("web", "sql", "web"):
            now[0] = name
            assert await sent(session, first, Now) == {"tags": [{"name": name}]}
            assert await sent(session, first, CheckedNow) == {"tags": [{"name": name}]}


class AnyOrder(BaseModel):
    """All comments, in another order."""

    comments: Annotated[list[Text], Related(order_by=lambda each: each.id.desc())]


async def test_criteria_of_texts(database: Database):
    """A statement whose SQL is a text restricts what is related by its options, too."""

    def of(number: int) -> Any:
        words = text(f"SELECT * FROM forum_post WHERE id = {number}")
        return select(Post).from_statement(words)

    some = of(1).options(with_loader_criteria(Comment, Comment.text == "nice"))
    async with database.read_session() as session:
        assert await sent(session, some, AnyOrder) == {"comments": [{"text": "nice"}]}
        assert await sent(session, of(2), AnyOrder) == {"comments": []}
        everything = of(2).execution_options(include_deleted=True)
        assert await sent(session, everything, AnyOrder) == {"comments": [{"text": "spam"}]}
