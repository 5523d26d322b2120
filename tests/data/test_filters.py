"""Filters, searches and orders from a query string, on each database."""

import threading
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import fastapi
import pytest
from fastapi import APIRouter, Depends, FastAPI, Query, WebSocket
from fastapi.security import APIKeyQuery
from httpx import AsyncClient
from packaging.version import Version
from pydantic import BaseModel
from sqlalchemy import Index, MetaData, String, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from fastapi_asyncdb import (
    Database,
    Filter,
    FilterSet,
    OrderBy,
    PageQuery,
    ReadRepository,
    Search,
)
from tests.data.blog import (
    Base,
    Comment,
    Narrow,
    Post,
    PostFilter,
    Status,
    Tag,
    Writer,
    found,
    refused,
    served,
)
from tests.support.application import client as client_of
from tests.support.application import with_tables
from tests.support.databases import ONE_DRIVER


@pytest.fixture
def tables() -> MetaData:
    """The tables of the blog."""
    return Base.metadata


@pytest.fixture
async def client(database: Database) -> AsyncIterator[AsyncClient]:
    """A client of the application, with three posts."""
    ada, bob = Writer(id=1, name="Ada"), Writer(id=2, name="Bob", boss_id=1)
    tags = [Tag(name="new"), Tag(name="hot")]
    posts = [
        Post(
            id=1,
            writer=bob,
            title="50% off_er",
            body="cheap wine",
            note="Red",
            views=10,
            score=1.5,
            ratio=0.1,
            price=Decimal("9.99"),
            exact=Decimal("1e30"),
            status=Status.OUT,
            public=True,
            token=UUID(int=1),
            made_at=datetime(2024, 5, 1, tzinfo=UTC),
            local_at=datetime(2024, 5, 1),  # noqa: DTZ001
            day=date(2024, 5, 1),
            hour=time(8, 30),
            rank=7,
            size=2**40,
            comments=[Comment(text="first", writer=bob), Comment(text="First!", writer=None)],
        ),
        Post(id=2, writer=ada, title="50 offers", body="cheap bread", views=20, tags=tags),
        Post(id=3, title="Ünïcode/\\", body="wine, bread", note="white", views=20),
    ]
    async with served(database, ada, bob, *posts) as client:
        yield client


FINDS: dict[str, list[int]] = {
    "": [2, 3, 1],
    "id=2": [2],
    "id__in=1&id__in=3": [3, 1],
    "id__gt=1": [2, 3],
    "title=50 offers": [2],
    "title=": [],
    "title__ne=50 offers": [3, 1],
    "title__in=50 offers&title__in=a,b": [2],
    "title__contains=%25 off_": [1],
    "title__contains=_": [1],
    "title__contains=/\\": [3],
    "title__icontains=OFFERS": [2],
    "title__startswith=50": [2, 1],
    "title__startswith=50%25": [1],
    "title__istartswith=50 OFF": [2],
    "title__endswith=er": [1],
    "title__iendswith=ERS": [2],
    "body__lt=wine": [2, 1],
    "body__ge=wine": [3],
    "note=Red": [1],
    "note__ne=Red": [3],
    "note__not_in=Red&note__not_in=blue": [3],
    "note__is_null=true": [2],
    "note__is_null=false": [3, 1],
    "views=20": [2, 3],
    "views__ne=20": [1],
    "views__lt=20": [1],
    "views__le=20&views__ge=11": [2, 3],
    "views__gt=19": [2, 3],
    "views__in=10&views__in=11": [1],
    "views__not_in=10": [2, 3],
    "rank=7": [1],
    f"size={2**40}": [1],
    "score=1.5": [1],
    "score__lt=1.6": [1],
    "score__is_null=1": [2, 3],
    "ratio__le=0.05": [2, 3],
    "price=9.99": [1],
    "price__lt=9.99": [2, 3],
    "price__in=9.99&price__in=1": [1],
    "exact__lt=1e29": [2, 3],
    "status=out": [1],
    "status__ne=out": [2, 3],
    "status__in=out&status__in=draft": [2, 3, 1],
    "public=true": [1],
    "public=0": [2, 3],
    f"token={UUID(int=1)}": [1],
    f"token__in={UUID(int=1)}&token__in={UUID(int=2)}": [1],
    "made_at=2024-05-01T02:00:00%2B02:00": [1],
    "made_at__ge=2024-05-01T00:00:00Z": [1],
    "made_at__lt=2024-05-01T00:00:00Z": [],
    "made_at__is_null=yes": [2, 3],
    "local_at=2024-05-01": [1],
    "local_at__ge=2024-05-01T00:00:00": [1],
    "day=2024-05-01": [1],
    "day__le=2024-04-30": [2, 3],
    "day__in=2024-05-01&day__in=2024-05-02": [1],
    "hour=08:30": [1],
    "hour__gt=08:30": [2, 3],
    "writer=Ada": [2],
    "writer__ne=Ada": [1],
    "writer__in=Ada&writer__in=Bob": [2, 1],
    "boss=Ada": [1],
    "comment=first": [1],
    "comment__icontains=first": [1],
    "commenter=Bob": [1],
    "commenter=Ada": [],
    "tag=new": [2],
    "tag__in=new&tag__in=hot&tag=hot": [2],
    "tag=old": [],
    "search=cheap": [2, 1],
    "search=wine Red": [1],
    "search=WINE": [3, 1],
    "search=%25": [],
    "search=c_eap": [],
    "search= ": [2, 3, 1],
    "title__icontains=off&views=20": [2],
    "either=views=10&either=writer=Ada": [2, 1],
    "either=views=20%26writer=Ada&either=note=white": [2, 3],
    "either=views=20%26writer=Ada&id=3": [],
    "either=title=50%2525%2520off_er": [1],
    "either=id__in=1%26id__in=2&either=id=3": [2, 3, 1],
    "either=search=cheap%26id=1": [1],
    "either=note__is_null=true": [2],
    "order_by=views": [1, 2, 3],
    "order_by=-views,-text": [3, 2, 1],
    "order_by=text&order_by=views": [2, 1, 3],
    "order_by=views&limit=1&offset=1": [2],
}


async def test_each_parameter_finds_its_rows(client: AsyncClient):
    """Every operator and every type; by views, the most first, and then by key."""
    for query, expected in FINDS.items():
        assert await found(client, query) == expected, query


async def test_every_parameter_is_tried():
    """The list above has each parameter of the set."""
    tried = {part.partition("=")[0] for query in FINDS for part in query.split("&")}
    untried = PostFilter._parameters.keys() - tried
    assert untried <= {
        "body__le",
        "body__gt",
        "note__icontains",
        "score__ge",
        "ratio",
        "price__ge",
    } | {
        "exact",
        "commenter__is_null",
    }


async def test_a_page_by_cursor_goes_on_with_the_same_filters(client: AsyncClient):
    """No row is repeated or left out, also not by a filter on a collection."""
    query = "comment__icontains=first&limit=1"
    page = (await client.get(f"/feed?{query}")).json()
    assert (page["items"], page["next_cursor"]) == ([1], None)
    first = (await client.get("/feed?views__gt=0&order_by=-views&limit=2")).json()
    assert first["items"] == [2, 3]
    query = f"views__gt=0&order_by=-views&limit=2&cursor={first['next_cursor']}"
    assert await found(client, query, "/feed") == [1]


async def test_the_total_counts_each_row_once(client: AsyncClient):
    """Two comments of one post that fit are one post."""
    answer = (await client.get("/posts?comment__icontains=first")).json()
    assert (answer["items"], answer["total"]) == ([1], 1)


async def test_a_statement_may_join_what_filters_look_for(client: AsyncClient, database: Database):
    """The rows of the join are others than those of the filter."""
    statement = select(Post.id).join(Post.tags).join(Post.comments, isouter=True)
    filters = PostFilter(tag="new", comment=None, order_by=["views"])
    async with database.read_session() as session:
        rows = await session.scalars(filters.apply(statement.where(Tag.name == "hot")))
        assert list(rows) == [2]


async def test_rows_that_are_deleted_softly_fulfil_nothing(client: AsyncClient, database: Database):
    """A related row that SELECTs leave out is not there for filters either."""
    async with database.session() as session:
        (await session.get_one(Writer, 1)).mark_deleted()
    assert await found(client, "writer=Ada") == []
    assert await found(client, "boss=Ada") == []
    assert await found(client, "writer=Bob") == [1]


async def test_a_set_may_be_made_without_a_request(database: Database, client: AsyncClient):
    """Values are those of the types, alternatives are dictionaries."""
    filters = PostFilter(views__ge=10, either=[{"status": Status.OUT}, {"id__in": [3]}], note=None)
    assert dict(filters.values) == {
        "views__ge": 10,
        "either": [{"status": Status.OUT}, {"id__in": [3]}],
    }
    async with database.read_session() as session:
        posts = ReadRepository[Post](session)
        page = await posts.page(PageQuery(), *filters.where, order_by=filters.order_by)
    assert [post.id for post in page.items] == [3, 1]
    with pytest.raises(TypeError, match="PostFilter has no parameter 'color'"):
        PostFilter(color="red")


def test_its_repr_has_no_values():
    """What a client searches for is its own business."""
    assert repr(PostFilter(search="secret")) == "<PostFilter by search>"
    assert repr(PostFilter()) == "<PostFilter by nothing>"


async def test_a_set_may_ignore_what_it_does_not_know(client: AsyncClient):
    """Then parameters that the route reads from the request itself are possible."""
    assert await found(client, "views__ge=1&utm_source=x&views=10", "/narrow") == [1, 2, 3]
    (error,) = await refused(client, "views__ge=10", "/narrow")
    assert (error["loc"], error["type"]) == (["query", "views__ge"], "less_than_equal")


async def test_a_type_narrows_that_of_the_column(client: AsyncClient):
    """What the column cannot have stays refused."""
    assert await found(client, "title__in=50 offers", "/narrow") == [2]
    (error,) = await refused(client, "title__in=%00", "/narrow")
    assert error["loc"] == ["query", "title__in", 0]


def test_a_subclass_has_the_declarations_of_its_base():
    """It may add some, and replace some."""

    class More(Narrow):
        title = Filter(Post.title)
        views = Filter(Post.views, "le")

    assert list(More._parameters) == ["views__le", "title"]
    assert (More.model, More.ignore_unknown) == (Post, True)


def test_an_order_without_a_default_is_none():
    """Then the statement keeps its own."""

    class Ordered(FilterSet[Post]):
        sort = OrderBy(Post.views, title=Post.title)

    assert list(Ordered().sort) == []
    assert [str(each) for each in Ordered(sort=["-title"]).sort] == ["post.title DESC"]
    assert isinstance(Ordered.sort, OrderBy)


class Documents(DeclarativeBase):
    pass


class Document(Documents):
    __tablename__ = "document"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(String(200))
    body: Mapped[str | None] = mapped_column(String(200))


class DocumentFilter(FilterSet[Document]):
    search = Search(Document.title, Document.body, language="english")


Index("ix_document_search", DocumentFilter.search.vector, postgresql_using="gin").ddl_if(
    dialect="postgresql"
)


@pytest.mark.databases("postgresql-asyncpg", "postgresql-psycopg")
async def test_the_search_of_postgresql_knows_a_language_and_has_an_index(database_url: str):
    """Word forms, exact phrases, exclusions; and its condition is what the index has."""
    async with with_tables(database_url, Documents.metadata) as database:
        async with database.session() as session:
            session.add_all(
                [
                    Document(id=1, title="Writing well", body="On the craft of writing"),
                    Document(id=2, title="She writes", body=None),
                    Document(id=3, title="A well", body="deep water"),
                ]
            )
        async with database.session() as session:
            await session.execute(text("SET LOCAL enable_seqscan = off"))
            for search, expected in {
                "write": [1, 2],
                '"writing well"': [1],
                "well -writing": [3],
                "water or craft": [1, 3],
                "the": [],
                "'; DROP TABLE document --": [],
                '"(&|!:*': [],
            }.items():
                statement = DocumentFilter(search=search).apply(select(Document.id))
                rows = await session.scalars(statement.order_by(Document.id))
                assert list(rows) == expected, search
            statement = DocumentFilter(search="write").apply(select(Document.id))
            compiled = statement.compile(
                dialect=session.get_bind().dialect, compile_kwargs={"literal_binds": True}
            )
            plan = await session.scalars(text(f"EXPLAIN {compiled}".replace(":", "\\:")))
            assert "ix_document_search" in "".join(plan)


class Extra(BaseModel):
    color: str = ""
    shape: Annotated[str, Query(alias="form")] = ""


def _extra(extra: Annotated[Extra, Query()]) -> None:
    pass


def _tenant(tenant: str = "", other: Annotated[str, Query(alias="o")] = "") -> None:
    pass


@pytest.mark.databases(*ONE_DRIVER[:1])
async def test_parameters_of_the_whole_route_are_known(database: Database):
    """Those of other dependencies, of routers, of models, of security; and what is not is refused."""
    router = APIRouter(dependencies=[Depends(_extra)])
    key = APIKeyQuery(name="key", auto_error=False)

    @router.get("/")
    async def listed(
        filters: Annotated[PostFilter, Depends()],
        key: Annotated[str | None, Depends(key)],
        page: int = 1,
    ) -> list[str]:
        return list(filters.values)

    app = FastAPI()
    app.include_router(router, prefix="/in", dependencies=[Depends(_tenant)])
    async with client_of(app) as client:
        query = "views=1&color=red&form=round&tenant=a&o=b&key=x&page=2"
        assert (await client.get(f"/in/?{query}")).json() == ["views"]
        for name in ("pages", "shape", "other", "Views", "views__", "views__eq"):
            (error,) = await refused(client, f"{name}=1", "/in/")
            assert (error["type"], error["loc"]) == ("unknown_parameter", ["query", name])
            assert {"color", "form", "tenant", "o", "key", "page", "views__ge"} <= set(
                error["msg"].rstrip(".").replace("are: ", ", ").split(", ")
            )


@pytest.mark.databases(*ONE_DRIVER[:1])
async def test_openapi_says_what_is_allowed(client: AsyncClient):
    """Types, bounds, values and meanings of each parameter."""
    schema = (await client.get("/openapi.json")).json()
    listed = schema["paths"]["/posts"]["get"]["parameters"]
    by_name: dict[str, Any] = {each["name"]: each for each in listed}
    assert by_name.keys() == {*PostFilter._parameters, "offset", "limit"}
    assert not any(each["required"] for each in listed)
    assert all(by_name[name]["description"] for name in PostFilter._parameters)
    views = by_name["views__ge"]["schema"]
    assert (views["minimum"], views["exclusiveMaximum"]) == (-(2**31), 2**31)
    assert by_name["made_at__lt"]["schema"]["format"] == "date-time"
    assert by_name["token"]["schema"]["format"] == "uuid"
    assert by_name["title__in"]["schema"]["maxItems"] == 100
    assert by_name["title"]["schema"]["maxLength"] == 1000
    assert by_name["note__is_null"]["schema"]["type"] == "boolean"
    assert schema["components"]["schemas"]["Status"]["enum"] == ["draft", "out"]
    order = by_name["order_by"]["schema"]
    assert order["items"]["enum"][:2] == ["views", "-views"]
    assert "Without it: `-views`" in order["description"]


@pytest.mark.databases(*ONE_DRIVER[:1])
async def test_a_socket_has_filters_too(database: Database):
    """Its handshake is refused instead of answered."""
    app, router = FastAPI(), APIRouter()

    @router.websocket("/")
    async def socket(websocket: WebSocket, filters: Annotated[PostFilter, Depends()]) -> None:
        await websocket.accept()
        await websocket.send_json(list(filters.values))

    app.include_router(router, dependencies=[Depends(_tenant)])
    queries = {"views=1": "accept", "views=1&tenant=a": "accept", "view=1": "close"}
    for query, kind in queries.items():
        sent: list[Any] = []

        async def receive() -> dict[str, str]:
            return {"type": "websocket.connect"}

        async def send(message: Any, sent: list[Any] = sent) -> None:
            sent.append(message)

        scope = {
            "type": "websocket",
            "path": "/",
            "root_path": "",
            "query_string": query.encode(),
            "headers": [],
            "subprotocols": [],
        }
        await app(scope, receive, send)
        assert sent[0]["type"] == f"websocket.{kind}", query


threads: set[int] = set()


class Watched(PostFilter):
    """Notes the thread that makes it."""

    def __new__(cls, **values: Any) -> "Watched":
        threads.add(threading.get_ident())
        return super().__new__(cls)


@pytest.mark.skipif(
    Version(fastapi.__version__) < Version("0.123.5"), reason="FastAPI does not look behind a class"
)
async def test_a_request_needs_no_thread_for_its_filters():
    """FastAPI makes them on the event loop."""
    app = FastAPI()

    @app.get("/")
    async def listed(filters: Annotated[Watched, Depends()]) -> list[str]:
        return list(filters.values)

    async with client_of(app) as client:
        assert (await client.get("/?views=1")).json() == ["views"]
    assert threads == {threading.get_ident()}
