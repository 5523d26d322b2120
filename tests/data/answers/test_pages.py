"""Pages of answers: the envelopes, walks, filters, joins, and what a page refuses."""

from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI
from pydantic import BaseModel
from pydantic.dataclasses import dataclass
from sqlalchemy import MetaData, Select, func, select, text, union_all
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased, contains_eager, joinedload

from fastapi_asyncdb import (
    CursorPage,
    CursorQuery,
    Database,
    Filter,
    FilterSet,
    OrderBy,
    Page,
    PageQuery,
    Repository,
    Search,
    answer,
    paginate,
    paginate_cursor,
)
from fastapi_asyncdb.errors import ConfigurationError, InvalidCursor
from tests.data.answers.forum import (
    POSTS,
    TITLES,
    Author,
    Base,
    Comment,
    Post,
    PostOut,
    Tag,
    TagOut,
    Title,
    fill,
    sent,
)
from tests.support.application import running

IN_ORDER = select(Post).order_by(Post.id)


class Tagged(BaseModel):
    id: int
    tags: list[TagOut]


class CheckedTagged(Tagged):
    def model_post_init(self, context: Any) -> None:
        """Keep the database from building the JSON."""


SCHEMAS = pytest.mark.parametrize("schema", [Tagged, CheckedTagged])


@pytest.fixture
def tables() -> MetaData:
    """The tables of ``database``."""
    return Base.metadata


@pytest.fixture(autouse=True)
async def _filled(database: Database) -> None:
    await fill(database)


async def walk(
    session: AsyncSession, statement: Select[Any], schema: Any, limit: int = 1
) -> list[Any]:
    """Return the items of all pages, by offset and by cursor, there and back: they are the same."""
    by_offset: list[Any] = []
    while True:
        query = PageQuery(len(by_offset), limit)
        page = await sent(session, statement, Page[schema], page=query)
        check(page, await paginate(session, statement, query))
        by_offset += page["items"]
        if not page["has_more"]:
            break

    async def step(cursor: str | None) -> Any:
        query = CursorQuery(cursor, limit)
        page = await sent(session, statement, CursorPage[schema], page=query)
        check(page, await paginate_cursor(session, statement, query))
        return page

    page = await step(None)
    there = list(page["items"])
    while page["next_cursor"]:
        page = await step(page["next_cursor"])
        there += page["items"]
    back = list(page["items"])
    while page["previous_cursor"]:
        page = await step(page["previous_cursor"])
        back = [*page["items"], *back]
    assert there == back == by_offset
    return there


def check(page: dict[str, Any], expected: Page[Post] | CursorPage[Post]) -> None:
    """Check that a page has the rows of one of objects, and says the same about them."""
    around = expected.model_copy(update={"items": []}).model_dump()
    assert page | {"items": []} == around
    assert list(page) == list(around)
    assert [each["id"] for each in page["items"]] == [post.id for post in expected.items]


STATEMENTS: list[tuple[Select[Any], list[int]]] = [
    (select(Post), [1, 2, 3]),
    (select(Post).order_by(Post.views.desc()), [2, 3, 1]),
    (select(Post).order_by(Post.made_at), [1, 2, 3]),
    (select(Post).where(Post.id > 7), []),
    (select(Post).join(Post.author).order_by(Author.name.desc(), Post.id), [2, 1, 3]),
    (select(Post).join(Post.tags), [1, 3]),
    (select(Post).join(Post.tags).order_by(Tag.weight.desc()), [1, 3]),
    (select(Post).outerjoin(Post.comments).order_by(Comment.text.nulls_last()), [1, 2, 3]),
    (select(Post).join(Post.tags).distinct(), [1, 3]),
    (select(Post).join(Post.tags).group_by(Post.id), [1, 3]),
    (select(Post).options(joinedload(Post.tags)).order_by(Post.views), [1, 3, 2]),
    (
        select(Post).join(Post.tags).where(Tag.name == "web").options(contains_eager(Post.tags)),
        [1, 3],
    ),
    (select(Post).where(Post.author_id == Author.id, Author.name == "Ada"), [1, 3]),
]


OF_WEB = 11
"""The number of the statement that fills the collection itself."""


@SCHEMAS
@pytest.mark.parametrize("number", range(len(STATEMENTS)))
async def test_walks(database: Database, schema: Any, number: int):
    """Pages are those of ``paginate``, whatever the statement is."""
    statement, expected = STATEMENTS[number]
    posts = [{"id": n, "tags": POSTS[n - 1]["tags"]} for n in expected]
    if number == OF_WEB:
        posts = [post | {"tags": [{"name": "web"}]} for post in posts]
    async with database.read_session() as session:
        assert await walk(session, statement, schema) == posts


async def test_pages_of_an_alias(database: Database):
    """Of the class, and of a subquery."""
    post = aliased(Post)
    latest = aliased(Post, select(Post).order_by(Post.id.desc()).limit(2).subquery())
    async with database.read_session() as session:
        assert await walk(session, select(post).order_by(post.views), PostOut) == [
            POSTS[0],
            POSTS[2],
            POSTS[1],
        ]
        assert await walk(session, select(latest).order_by(latest.id), PostOut) == POSTS[1:]


async def test_pages_of_columns(database: Database):
    """Rows by the names of their columns, and the values of an only column."""

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
        page = await sent(session, counts, Page[Count], page=PageQuery(limit=1))
        assert (page["items"], page["total"]) == ([{"name": "Ada", "posts": 2}], 2)
        step = await sent(session, counts, CursorPage[Count], page=CursorQuery(limit=1))
        assert step["items"] == [{"name": "Ada", "posts": 2}]
        ids = select(Post.id).order_by(Post.id)
        assert (await sent(session, ids, Page[int], page=PageQuery()))["items"] == [1, 2, 3]


async def test_unions(database: Database):
    """The error says how to page them."""
    union = union_all(select(Post.id, Post.title), select(Author.id, Author.name))
    async with database.read_session() as session:
        for statement in (union, text("SELECT id, title FROM forum_post")):
            with pytest.raises(TypeError, match=r"A page is made of a select\(\)"):
                await answer(session, statement, Page[Title], page=PageQuery())
            with pytest.raises(TypeError, match=r"A page is made of a select\(\)"):
                await answer(session, statement, CursorPage[Title], page=CursorQuery())
        rows = union.subquery()
        wrapped = select(rows).order_by(rows.c.title)
        page = await sent(session, wrapped, Page[Title], page=PageQuery(limit=2))
        assert [each["title"] for each in page["items"]] == ["Ada", "Bob"]
        assert page["total"] == 5


async def test_totals(database: Database):
    """As with ``paginate``: exact, estimated, or none."""
    async with database.read_session() as session:
        page = await sent(session, IN_ORDER, Page[Title], page=PageQuery(limit=2), total=None)
        assert (page["total"], page["has_more"], page["items"]) == (None, True, TITLES[:2])
        query = PageQuery(limit=3)
        page = await sent(session, IN_ORDER, Page[Title], page=query, total="estimated")
        assert (page["total"], page["has_more"]) == (3, False)
        page = await sent(session, IN_ORDER, Page[Title], page=PageQuery(offset=9))
        assert (page["total"], page["items"]) == (3, [])


async def test_signed_cursors(database: Database):
    """A cursor that is signed with another secret is refused."""
    query = CursorQuery(limit=1)
    async with database.read_session() as session:
        page = await sent(session, IN_ORDER, CursorPage[Title], page=query, secret="first secret")
        onward = CursorQuery(page["next_cursor"], 1)
        page = await sent(session, IN_ORDER, CursorPage[Title], page=onward, secret="first secret")
        assert page["items"] == [TITLES[1]]
        with pytest.raises(InvalidCursor):
            await answer(session, IN_ORDER, CursorPage[Title], page=onward, secret="another one")


class PostFilter(FilterSet[Post]):
    title = Filter(Post.title, "eq", "icontains")
    tag = Filter(Tag.name, through=Post.tags)
    search = Search(Post.title, Post.body)
    order_by = OrderBy(Post.views, Post.title, default="-views")


async def test_filters(database: Database):
    """Filters, a search and an order from the query string, in both kinds of pages."""
    app = FastAPI()
    session = Annotated[AsyncSession, Depends(database.get_read_db)]
    filters = Annotated[PostFilter, Depends()]

    @app.get("/posts", response_model=Page[PostOut])
    async def posts(db: session, by: filters, page: Annotated[PageQuery, Depends()]) -> Any:
        return await answer(db, by.apply(Repository[Post](db).select()), Page[PostOut], page=page)

    @app.get("/feed", response_model=CursorPage[PostOut])
    async def feed(db: session, by: filters, page: Annotated[CursorQuery, Depends()]) -> Any:
        return await answer(db, by.apply(select(Post)), CursorPage[PostOut], page=page)

    async with running(app) as http:
        for path in ("/posts", "/feed"):

            async def found(query: str, path: str = path) -> Any:
                response = await http.get(f"{path}?{query}")
                assert response.status_code == 200, response.text
                return response.json()["items"]

            assert await found("") == [POSTS[1], POSTS[2], POSTS[0]]
            assert await found("title__icontains=IR") == [POSTS[2], POSTS[0]]
            assert await found("tag=web&order_by=views") == [POSTS[0], POSTS[2]]
            assert await found("search=second") == [POSTS[1]]
        first = (await http.get("/feed?limit=1&order_by=title")).json()
        second = (
            await http.get(f"/feed?limit=1&cursor={first['next_cursor']}&order_by=title")
        ).json()
        assert [first["items"], second["items"]] == [[POSTS[0]], [POSTS[1]]]
        forged = await http.get("/feed?cursor=nonsense")
        assert forged.status_code == 422


async def test_the_wrong_query(database: Database):
    """The message names the schema and the query that belong together."""
    async with database.read_session() as session:
        for schema, query in (
            (Page[Title], CursorQuery()),
            (CursorPage[Title], PageQuery()),
            (list[Title], PageQuery()),
            (Title, CursorQuery()),
        ):
            fact = f"page= is a {type(query).__name__}, and the schema is"
            with pytest.raises(ConfigurationError, match=fact) as raised:
                await answer(session, IN_ORDER, schema, page=query)
            assert "A PageQuery reads Page[...]" in str(raised.value)
        for schema in (Page[Title], CursorPage[Title]):
            with pytest.raises(ConfigurationError, match=r"Title. is a page.* 'page=query'"):
                await answer(session, IN_ORDER, schema)
        with pytest.raises(ConfigurationError, match="LIMIT or OFFSET"):
            await answer(session, IN_ORDER.limit(1), Page[Title], page=PageQuery())


async def test_queries_of_the_applications_own(database: Database):
    """A subclass with other bounds is a query as well."""

    @dataclass(frozen=True)
    class Wide(PageQuery):
        limit: int = 2

    async with database.read_session() as session:
        page = await sent(session, IN_ORDER, Page[Title], page=Wide())
    assert (page["items"], page["limit"]) == (TITLES[:2], 2)
