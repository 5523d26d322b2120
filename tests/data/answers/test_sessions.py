"""Answers by each kind of session: what they see, and what listeners and options of a session add."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI
from pydantic import BaseModel
from sqlalchemy import ForeignKey, MetaData, event, select, text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import (
    Mapped,
    Session,
    mapped_column,
    relationship,
    with_loader_criteria,
)
from sqlalchemy.sql.base import ExecutableOption

from fastapi_asyncdb import (
    Answer,
    Database,
    DatabaseSettings,
    Page,
    PageQuery,
    answer,
    rows,
)
from fastapi_asyncdb.dialects import json_of
from fastapi_asyncdb.errors import DatabaseNotStarted
from fastapi_asyncdb.testing import override_db, sandbox
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
    CommentOut,
    Post,
    PostOut,
    Tag,
    Title,
    fill,
    sent,
)
from tests.support.application import checked_out, client

IN_ORDER = select(Post).order_by(Post.id)


class CheckedPost(PostOut):
    def model_post_init(self, context: Any) -> None:
        """Keep the database from building the JSON."""


SCHEMAS = pytest.mark.parametrize("schema", [PostOut, CheckedPost])


@pytest.fixture
def tables() -> MetaData:
    """The tables of ``database``."""
    return Base.metadata


@pytest.fixture(autouse=True)
async def _filled(database: Database) -> None:
    await fill(database)


# Kinds of sessions


@asynccontextmanager
async def opened(database: Database, kind: str) -> AsyncIterator[AsyncSession]:
    """Open a session of this kind."""
    if kind == "write":
        async with database.session() as session:
            yield session
    elif kind == "read":
        async with database.read_session() as session:
            yield session
    elif kind == "snapshot":
        async with database.session(isolation_level="REPEATABLE READ", read_only=True) as session:
            yield session
    elif kind == "plain":
        async with AsyncSession(database.engine) as session:
            yield session
    elif kind == "connection":
        async with database.engine.connect() as connection, AsyncSession(connection) as session:
            yield session
    else:
        async with sandbox(database) as session:
            yield session


@SCHEMAS
@pytest.mark.parametrize("kind", ["write", "read", "snapshot", "plain", "connection", "sandbox"])
async def test_kinds_of_sessions(database: Database, kind: str, schema: Any):
    """All of them answer the same."""
    async with opened(database, kind) as session:
        assert await sent(session, IN_ORDER, list[schema]) == POSTS
        page = await sent(session, IN_ORDER, Page[schema], page=PageQuery(limit=1))
        assert page["items"] == POSTS[:1]
        assert [each.model_dump() for each in await rows(session, IN_ORDER, schema)] == POSTS
        response = await answer.stream(session, IN_ORDER, schema, format="json")
        chunks = [chunk async for chunk in response.body_iterator]
        assert len(chunks) == 2


@SCHEMAS
async def test_engine_of_the_applications_own(database: Database, schema: Any):
    """An engine and a sessionmaker of SQLAlchemy alone, as in the textbook."""
    engine = create_async_engine(database.engine.url)
    try:
        async with async_sessionmaker(engine, expire_on_commit=False)() as session:
            assert await sent(session, IN_ORDER, list[schema]) == POSTS
    finally:
        await engine.dispose()


async def test_reading_session_keeps_no_connection(database: Database):
    """It is back in the pool after each answer."""
    async with database.read_session() as session:
        for schema in (list[PostOut], list[CheckedPost]):
            await answer(session, IN_ORDER, schema)
            assert checked_out(database) == 0


async def test_database_that_is_not_started():
    """The error is that of any use of the session."""
    database = Database(DatabaseSettings(url="sqlite://"))
    app = FastAPI()
    raised: list[BaseException] = []

    @app.get("/{form}")
    async def posts(db: Annotated[AsyncSession, Depends(database.get_read_db)], form: str) -> Any:
        try:
            if form == "page":
                return await answer(db, IN_ORDER, Page[Title], page=PageQuery())
            if form == "stream":
                return await answer.stream(db, IN_ORDER, Title)
            return await answer(db, IN_ORDER, list[Title])
        except Exception as error:
            raised.append(error)
            raise

    async with client(app) as http:
        for form in ("list", "page", "stream"):
            assert (await http.get(f"/{form}")).status_code == 500
    assert [type(each) for each in raised] == [DatabaseNotStarted] * 3


# What is pending


@SCHEMAS
async def test_pending_objects_are_stored_first(database: Database, schema: Any):
    """New, changed and deleted ones, and those of relationships."""
    async with database.session() as session:
        post = await session.get_one(Post, 2)
        post.title = "Changed"
        session.add(Comment(id=9, post_id=2, author_id=1, text="new"))
        await session.delete(await session.get_one(Comment, 1))
        [first, second, _] = await sent(session, IN_ORDER, list[schema])
        assert second == POSTS[1] | {
            "title": "Changed",
            "comments": [{"text": "new", "author": ADA}],
        }
        assert [each["text"] for each in first["comments"]] == ["of a deleted author", "of none"]


async def test_without_autoflush_nothing_is_stored(database: Database):
    """As with any select; what the JSON has is what is stored."""
    async with database.session() as session:
        post = await session.get_one(Post, 2)
        post.title = "Changed"
        with session.no_autoflush:
            found = await sent(session, IN_ORDER.where(Post.id == 2), Title)
    builds = json_of(database.engine.dialect) is not None
    assert found == TITLES[1] or not builds


# What is left out


@SCHEMAS
async def test_soft_deletes(database: Database, schema: Any):
    """Rows that are deleted are left out at each depth, unless the statement includes them."""
    everything = IN_ORDER.execution_options(include_deleted=True)
    async with database.read_session() as session:
        for _ in range(2):  # neither is in the cache of the other
            assert await sent(session, IN_ORDER, list[schema]) == POSTS
            [first, second, _] = await sent(session, everything, list[schema])
            assert first["comments"][1]["author"] == {"id": 3, "name": "Eve"}
            assert second["comments"] == [{"text": "spam", "author": ADA}]
        authors = select(Author).order_by(Author.id)
        assert await sent(session, authors, list[AuthorOut]) == [ADA, BOB]
        page = await sent(session, authors, Page[AuthorOut], page=PageQuery())
        assert (page["items"], page["total"]) == ([ADA, BOB], 2)


@SCHEMAS
async def test_deleted_row_that_a_field_requires(database: Database, schema: Any):
    """A post without its author fits no schema that requires one: an error, and no invented value."""
    async with database.session() as session:
        author = await session.get_one(Author, 1)
        author.mark_deleted()
    async with database.read_session() as session:
        with pytest.raises(Exception, match="author") as raised:
            await answer(session, IN_ORDER, list[schema])
    assert type(raised.value).__name__ == "ResponseValidationError"


tenant: ContextVar[str] = ContextVar("tenant")


@contextmanager
def tenants() -> Iterator[None]:
    """Let each statement of an ORM find only comments whose text begins as the tenant's do."""

    def restrict(state: Any) -> None:
        if state.is_select:
            name = tenant.get()
            criteria = with_loader_criteria(
                Comment, lambda cls: cls.text.startswith(name), include_aliases=True
            )
            state.statement = state.statement.options(criteria)

    event.listen(Session, "do_orm_execute", restrict)
    try:
        yield
    finally:
        event.remove(Session, "do_orm_execute", restrict)


@SCHEMAS
async def test_tenants(database: Database, schema: Any):
    """Criteria of a listener reach nested relationships, with the value of each request."""
    with tenants():
        async with database.read_session() as session:
            for name, texts in 2 * [("nice", ["nice"]), ("of n", ["of none"]), ("x", [])]:
                tenant.set(name)
                [first, *_] = await sent(session, IN_ORDER, list[schema])
                assert [each["text"] for each in first["comments"]] == texts
                [first, *_] = await rows(session, IN_ORDER, schema)
                assert [each.text for each in first.comments] == texts
                response = await answer.stream(session, IN_ORDER, schema)
                lines = "".join([str(chunk) async for chunk in response.body_iterator])
                assert ("nice" in lines) == (name == "nice")
                query = PageQuery(limit=1)
                page = await sent(session, IN_ORDER, Page[schema], page=query)
                assert [each["text"] for each in page["items"][0]["comments"]] == texts
                # As the rows of the statement itself.
                comments = select(Comment).where(Comment.post_id == 1)
                found = await sent(session, comments, list[CommentOut])
                assert [each["text"] for each in found] == texts


def named(model: Any, column: str, value: str, *, include_aliases: bool) -> ExecutableOption:
    """Return criteria by a function, whose variables SQLAlchemy finds in each statement anew."""
    if column == "name":
        return with_loader_criteria(
            model, lambda cls: cls.name == value, include_aliases=include_aliases
        )
    return with_loader_criteria(
        model, lambda cls: cls.tenant == value, include_aliases=include_aliases
    )


@SCHEMAS
async def test_criteria_of_a_statement(database: Database, schema: Any):
    """They are options of the statement, and neither lost nor kept for the next one.

    Relationships are loaded from the class itself, so that criteria need not include its aliases.
    """
    async with database.read_session() as session:
        for aliases in (False, True):
            for word, names in (("web", ["web"]), ("sql", ["sql"]), ("no", [])):
                for criteria in (
                    with_loader_criteria(Tag, Tag.name == word, include_aliases=aliases),
                    named(Tag, "name", word, include_aliases=aliases),
                ):
                    [first, *_] = await sent(session, IN_ORDER.options(criteria), list[schema])
                    assert [tag["name"] for tag in first["tags"]] == names
            assert await sent(session, IN_ORDER, list[schema]) == POSTS
            first_only = with_loader_criteria(Post, Post.id == 1, include_aliases=aliases)
            assert await sent(session, IN_ORDER.options(first_only), list[schema]) == POSTS[:1]


class Node(Base):
    """It is related to itself."""

    __tablename__ = "forum_node"
    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    above_id: Mapped[int | None] = mapped_column(ForeignKey("forum_node.id"))
    below: Mapped[list["Node"]] = relationship(order_by=lambda: Node.id)


class Leaf(BaseModel):
    id: int


class NodeOut(Leaf):
    below: list[Leaf]


class CheckedNode(NodeOut):
    def model_post_init(self, context: Any) -> None:
        """Keep the database from building the JSON."""


@pytest.mark.parametrize("aliases", [False, True])
@pytest.mark.parametrize("schema", [NodeOut, CheckedNode])
async def test_tenants_of_a_class_that_is_related_to_itself(
    database: Database, schema: Any, aliases: bool
):
    """The rows of the relationship are those of the tenant too."""
    async with database.session() as session:
        session.add(Node(id=1, tenant="a", below=[Node(id=2, tenant="b"), Node(id=3, tenant="a")]))
    nodes = select(Node).where(Node.above_id.is_(None))
    async with database.read_session() as session:
        for name, below in 2 * [("a", [{"id": 3}]), ("b", None)]:
            mine = named(Node, "tenant", name, include_aliases=aliases)
            found = await sent(session, nodes.options(mine), schema | None)
            assert found == (None if below is None else {"id": 1, "below": below})


@SCHEMAS
async def test_tenants_at_the_same_time(database: Database, schema: Any):
    """Each task has the rows of its own."""

    async def one(name: str) -> list[str]:
        tenant.set(name)
        async with database.read_session() as session:
            [first, *_] = await sent(session, IN_ORDER, list[schema])
            return [each["text"] for each in first["comments"]]

    with tenants():
        found = await asyncio.gather(*(one(name) for name in 10 * ["nice", "of n"]))
    assert found == 10 * [["nice"], ["of none"]]


# Options and sandboxes


@pytest.mark.databases("postgresql-asyncpg", "postgresql-psycopg")
async def test_schemas_of_tenants(database: Database):
    """``schema_translate_map`` reaches the tables of relationships."""
    async with database.session() as session:
        await session.execute(text("CREATE SCHEMA tenant_a"))
        for table in ("author", "post", "tag", "post_tag", "comment"):
            name = f"forum_{table}"
            await session.execute(
                text(f"CREATE TABLE tenant_a.{name} AS TABLE public.{name} WITH NO DATA")
            )
        await session.execute(
            text("INSERT INTO tenant_a.forum_author VALUES (1, 'Zoe', 'secret', NULL)")
        )
        columns = "(id, author_id, title, body, views, made_at)"
        values = "(5, 1, 'Other', '', 0, now())"
        await session.execute(text(f"INSERT INTO tenant_a.forum_post {columns} VALUES {values}"))
        mapped = {"schema_translate_map": {None: "tenant_a"}}
        schema: Any
        for _ in range(2):
            for schema in (PostOut, CheckedPost):
                other = IN_ORDER.execution_options(**mapped)
                assert await sent(session, other, list[schema]) == [
                    {
                        "id": 5,
                        "title": "Other",
                        "author": {"id": 1, "name": "Zoe"},
                        "tags": [],
                        "comments": [],
                    }
                ]
                assert await sent(session, IN_ORDER, list[schema]) == POSTS
        await session.rollback()


async def test_replaced_sessions(database: Database):
    """A test that replaces the dependency, or runs in a sandbox, is answered from its own session."""
    app = FastAPI()

    @app.get("/")
    async def posts(
        db: Annotated[AsyncSession, Depends(database.get_read_db)],
    ) -> Answer[list[Checked]]:
        return await answer(db, IN_ORDER, list[Checked])

    async with sandbox(database) as session, client(app) as http:
        session.add(Post(id=9, author_id=1, title="Mine"))
        await session.flush()
        assert (await http.get("/")).json()[-1] == {"id": 9, "title": "Mine"}
        with override_db(app, session, database=database):
            await session.rollback()
            assert (await http.get("/")).json() == TITLES


class Wide(BaseModel):
    id: int


async def test_mixed_in_one_session(database: Database):
    """Objects of the session and answers do not disturb each other."""
    async with database.session() as session:
        posts = (await session.scalars(IN_ORDER)).all()
        assert await sent(session, IN_ORDER, list[PostOut]) == POSTS
        assert await sent(session, IN_ORDER, list[Wide]) == [{"id": post.id} for post in posts]
        posts[0].title = "Changed"
    async with database.read_session() as session:
        assert (await sent(session, IN_ORDER, list[Title]))[0]["title"] == "Changed"
