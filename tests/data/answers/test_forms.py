"""One row, one or none, a list: what statements answers are made of."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel
from pydantic.dataclasses import dataclass
from sqlalchemy import ForeignKey, MetaData, func, literal, select, text, union_all
from sqlalchemy.exc import MultipleResultsFound
from sqlalchemy.orm import (
    Mapped,
    aliased,
    contains_eager,
    joinedload,
    mapped_column,
    relationship,
    selectinload,
)
from typing_extensions import TypedDict

from fastapi_asyncdb import Database, ReadRepository, answer, rows
from fastapi_asyncdb.errors import NotFoundError
from tests.data.answers.forum import (
    POSTS,
    TITLES,
    Author,
    Base,
    Checked,
    Comment,
    Post,
    PostOut,
    Tag,
    TagOut,
    Title,
    fill,
    sent,
)

IN_ORDER = select(Post).order_by(Post.id)
SCHEMAS = pytest.mark.parametrize("schema", [Title, Checked])
"""One whose JSON the database builds, where it can, and one that Pydantic writes."""


class Tagged(BaseModel):
    id: int
    tags: list[TagOut]


class CheckedTagged(Tagged):
    def model_post_init(self, context: Any) -> None:
        """Keep the database from building the JSON."""


@pytest.fixture
def tables() -> MetaData:
    """The tables of ``database``."""
    return Base.metadata


@pytest.fixture(autouse=True)
async def _filled(database: Database) -> None:
    await fill(database)


def with_tags(*posts: int) -> list[dict[str, Any]]:
    """Return posts as ``Tagged`` has them."""
    return [{"id": n, "tags": POSTS[n - 1]["tags"]} for n in posts]


# One row


@SCHEMAS
async def test_one_row(database: Database, schema: Any):
    """The row itself, in no list."""
    async with database.read_session() as session:
        assert await sent(session, select(Post).where(Post.id == 2), schema) == TITLES[1]


@SCHEMAS
async def test_no_row(database: Database, schema: Any):
    """It is an error that FastAPI answers with 404, or null where the schema says so."""
    nothing = select(Post).where(Post.id == 9)
    async with database.read_session() as session:
        with pytest.raises(NotFoundError, match="There is no such Post") as raised:
            await answer(session, nothing, schema)
        assert raised.value.model == "Post"
        assert await sent(session, nothing, schema | None) is None
        assert await sent(session, nothing, list[schema]) == []


@SCHEMAS
async def test_several_rows_are_not_one(database: Database, schema: Any):
    """The error of ``scalar_one()``, instead of the first row."""
    async with database.read_session() as session:
        with pytest.raises(MultipleResultsFound):
            await answer(session, select(Post), schema)
        with pytest.raises(MultipleResultsFound):
            await answer(session, select(Post), schema | None)


# What a list is made of


async def test_rows_of_columns(database: Database):
    """A statement without entities: the names of its columns are the schema's."""

    class Count(BaseModel):
        name: str
        posts: int

    counts = (
        select(Author.name, func.count(Post.id).label("posts"))
        .join(Author.posts)
        .group_by(Author.name)
        .order_by(Author.name)
    )
    async with database.read_session() as session:
        assert await sent(session, counts, list[Count]) == [
            {"name": "Ada", "posts": 2},
            {"name": "Bob", "posts": 1},
        ]


async def test_values_of_one_column(database: Database):
    """What is no schema with fields is the value of the only column."""
    async with database.read_session() as session:
        assert await sent(session, select(Post.id).order_by(Post.id), list[int]) == [1, 2, 3]
        count = select(func.count()).select_from(Post)
        assert await sent(session, count, int) == 3
        assert await rows(session, select(Post.title).order_by(Post.id), str) == [
            "First",
            "Second",
            "Third",
        ]


async def test_rows_of_entities_and_columns(database: Database):
    """Each column by its name, objects as their schema."""

    class Ranked(BaseModel):
        Post: Title
        rank: int

    ranked = select(Post, literal(7).label("rank")).order_by(Post.id)
    async with database.read_session() as session:
        assert await sent(session, ranked, list[Ranked]) == [
            {"Post": title, "rank": 7} for title in TITLES
        ]


@SCHEMAS
async def test_texts_and_unions(database: Database, schema: Any):
    """Their rows have the names of the columns."""
    union = union_all(
        select(Post.id, Post.title).where(Post.id < 3),
        select(Post.id, Post.title).where(Post.id == 3),
    ).order_by("id")
    by_hand = text("SELECT id, title FROM forum_post ORDER BY id")
    async with database.read_session() as session:
        assert await sent(session, union, list[schema]) == TITLES
        assert await sent(session, by_hand, list[schema]) == TITLES
        assert await sent(session, select(Post).from_statement(by_hand), list[schema]) == TITLES
        of_union = aliased(
            Post, union_all(*(select(Post).where(Post.id == n) for n in (1, 3))).subquery()
        )
        assert await sent(session, select(of_union).order_by(of_union.id), list[schema]) == [
            TITLES[0],
            TITLES[2],
        ]


@SCHEMAS
async def test_joins_orders_and_limits(database: Database, schema: Any):
    """They decide which rows there are, and in which order."""
    by_author = select(Post).join(Post.author).order_by(Author.name.desc(), Post.id.desc())
    async with database.read_session() as session:
        found = await sent(session, by_author, list[schema])
        assert found == [TITLES[1], TITLES[2], TITLES[0]]
        found = await sent(session, by_author.offset(1).limit(1), list[schema])
        assert found == [TITLES[2]]
        by_label = select(Post).order_by("title")
        assert await sent(session, by_label, list[schema]) == TITLES
        of_ada = select(Post).where(Post.author.has(Author.name == "Ada")).order_by(Post.views)
        assert await sent(session, of_ada, list[schema]) == [TITLES[0], TITLES[2]]
        locked = IN_ORDER.with_for_update()
    async with database.session() as session:
        assert await sent(session, locked, list[schema]) == TITLES


@pytest.mark.parametrize("schema", [Tagged, CheckedTagged])
async def test_a_join_along_a_collection_repeats_rows(database: Database, schema: Any):
    """As it does for ``scalars()``; DISTINCT and GROUP BY make them unique."""
    joined = select(Post).join(Post.tags).order_by(Post.id)
    async with database.read_session() as session:
        assert await sent(session, joined, list[schema]) == with_tags(1, 1, 3)
        assert await sent(session, joined.distinct(), list[schema]) == with_tags(1, 3)
        assert await sent(session, joined.group_by(Post.id), list[schema]) == with_tags(1, 3)


async def test_distinct_is_of_objects(database: Database):
    """Two posts of one title are two, although the schema shows no difference."""

    class Only(BaseModel):
        body: str

    async with database.read_session() as session:
        alike = select(Post).distinct().where(Post.id < 3)
        assert await sent(session, alike, list[Only]) == [{"body": "long"}, {"body": "long"}]


@pytest.mark.parametrize("schema", [Tagged, CheckedTagged])
async def test_aliases(database: Database, schema: Any):
    """An alias of the class, of a subquery, and one that is joined to the class."""
    post = aliased(Post)
    latest = aliased(Post, select(Post).order_by(Post.id.desc()).limit(2).subquery())
    both = select(post).join(Post, Post.id == post.id).where(Post.views > 10).order_by(post.id)
    async with database.read_session() as session:
        statement = select(post).where(post.title != "Second").order_by(post.id)
        assert await sent(session, statement, list[schema]) == with_tags(1, 3)
        assert await sent(session, select(latest).order_by(latest.id), list[schema]) == with_tags(
            2, 3
        )
        assert await sent(session, both, list[schema]) == with_tags(2, 3)
        # The class itself, beside an alias.
        other = select(Post).join(post, post.id == Post.id).order_by(post.views.desc())
        assert await sent(session, other, list[schema]) == with_tags(2, 3, 1)


async def test_statements_of_repositories(database: Database):
    """What ``Repository.select()`` returns, with its own conditions."""

    class Posts(ReadRepository[Post]):
        pass

    async with database.read_session() as session:
        posts = Posts(session)
        statement = posts.select().where(Post.views > 10).order_by(Post.id)
        assert await sent(session, statement, list[PostOut]) == POSTS[1:]


# Loader options


@pytest.mark.parametrize("schema", [Tagged, CheckedTagged])
async def test_loader_options_that_decide_what_is_related(database: Database, schema: Any):
    """A collection that the statement fills, or leaves empty, is sent as it is then."""
    filled = (
        select(Post)
        .join(Post.tags)
        .where(Tag.name == "web")
        .options(contains_eager(Post.tags))
        .order_by(Post.id)
    )
    web = [{"id": n, "tags": [{"name": "web"}]} for n in (1, 3)]
    narrowed = IN_ORDER.options(selectinload(Post.tags.and_(Tag.name == "sql")))
    async with database.read_session() as session:
        assert await sent(session, filled, list[schema]) == web
        assert await sent(session, narrowed, list[schema]) == [
            {"id": 1, "tags": [{"name": "sql"}]},
            {"id": 2, "tags": []},
            {"id": 3, "tags": []},
        ]
        inner = IN_ORDER.options(joinedload(Post.tags, innerjoin=True))
        assert await sent(session, inner, list[schema]) == with_tags(1, 3)


class Basket(Base):
    """Its eggs come with it, by a join."""

    __tablename__ = "forum_basket"
    id: Mapped[int] = mapped_column(primary_key=True)
    eggs: Mapped[list[Egg]] = relationship(lazy="joined")


class Egg(Base):
    __tablename__ = "forum_egg"
    id: Mapped[int] = mapped_column(primary_key=True)
    basket_id: Mapped[int] = mapped_column(ForeignKey(Basket.id))


class Carton(Base):
    """Its basket comes with it, and so do the eggs of the basket."""

    __tablename__ = "forum_carton"
    id: Mapped[int] = mapped_column(primary_key=True)
    basket_id: Mapped[int] = mapped_column(ForeignKey(Basket.id))
    basket: Mapped[Basket] = relationship(lazy="joined")


class Id(BaseModel):
    id: int


async def test_joined_loading_makes_rows_unique(database: Database):
    """SQLAlchemy insists on it where a collection is loaded by a join, and so it is for the rows."""
    async with database.session() as session:
        session.add(Basket(id=1, eggs=[Egg(id=1), Egg(id=2)]))
        session.add(Carton(id=1, basket_id=1))
    tagged = select(Post).join(Post.tags).order_by(Post.id)
    eggs = select(Basket).join(Basket.eggs)
    cartons = select(Carton).join(Egg, Egg.basket_id == Carton.basket_id)
    async with database.read_session() as session:
        loaded = tagged.options(joinedload(Post.comments))
        assert await sent(session, loaded, list[Tagged]) == with_tags(1, 3)
        loaded = tagged.options(joinedload(Post.author))
        assert await sent(session, loaded, list[Tagged]) == with_tags(1, 1, 3)
        beside = select(Post).where(Post.id == 1, Post.id == Comment.post_id)
        beside = beside.options(joinedload(Post.tags))
        assert await sent(session, beside, list[Tagged]) == with_tags(1)
        assert await sent(session, eggs, list[Id]) == [{"id": 1}]
        assert await sent(session, eggs, Id) == {"id": 1}
        assert await sent(session, cartons, list[Id]) == [{"id": 1}]


# Kinds of schemas


async def test_dataclasses_and_typed_dicts(database: Database):
    """They are schemas as models are."""

    @dataclass
    class Data:
        id: int
        title: str

    class Typed(TypedDict):
        id: int
        title: str

    async with database.read_session() as session:
        assert await sent(session, IN_ORDER, list[Data]) == TITLES
        assert await rows(session, IN_ORDER, Data) == [Data(**each) for each in TITLES]
        assert await rows(session, IN_ORDER, Typed) == TITLES


@pytest.mark.databases("sqlite", "postgresql-asyncpg", "postgresql-psycopg")
async def test_values_are_models_without_objects(database: Database):
    """Nothing of what is read is an object of the session."""
    async with database.session() as session:
        [first, *_] = await rows(session, IN_ORDER, PostOut)
        assert type(first) is PostOut
        assert first.model_dump() == POSTS[0]
        assert not session.identity_map
