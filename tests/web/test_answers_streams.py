"""Answers that are streamed: lines and arrays, memory, clients that leave, and what breaks one off."""

import asyncio
import contextlib
import json
import tracemalloc
from collections.abc import AsyncIterator
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from sqlalchemy import MetaData, insert, select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import ClientDisconnect

from fastapi_asyncdb import (
    Database,
    DatabaseSettings,
    Page,
    answer,
    install_error_handlers,
)
from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.testing import PostgresServer, assert_queries, sandbox
from tests.data.answers.forum import (
    POSTS,
    TITLES,
    Base,
    Checked,
    Comment,
    Post,
    PostOut,
    Tag,
    Title,
    fill,
)
from tests.support.application import Request, checked_out, client, eventually, running, with_tables

IN_ORDER = select(Post).order_by(Post.id)


class CheckedPost(PostOut):
    def model_post_init(self, context: Any) -> None:
        """Keep the database from building the JSON."""


class Strict(BaseModel):
    """Its author may be NULL."""

    id: int
    author_id: int


class Body(BaseModel):
    id: int
    body: str


class CheckedBody(Body):
    def model_post_init(self, context: Any) -> None:
        """Keep the database from building the JSON."""


SCHEMAS: dict[str, Any] = {
    "title": Title,
    "checked": Checked,
    "post": PostOut,
    "checked-post": CheckedPost,
    "strict": Strict,
}
ROWS: dict[str, list[Any]] = {
    "title": TITLES,
    "checked": TITLES,
    "post": POSTS,
    "checked-post": POSTS,
}
KINDS = pytest.mark.parametrize("kind", ROWS)


@pytest.fixture
def tables() -> MetaData:
    """The tables of ``database``."""
    return Base.metadata


@pytest.fixture
async def database(database_url: str, missing_tables: MetaData | None) -> AsyncIterator[Database]:
    """A database with three posts; after the test, every connection must be back in its pool."""
    async with with_tables(database_url, missing_tables) as database:
        await fill(database)
        yield database


def application(database: Database) -> FastAPI:
    """Return an application that streams posts."""
    app = FastAPI()
    ReadDB = Annotated[AsyncSession, Depends(database.get_read_db)]

    @app.get("/posts")
    async def posts(db: ReadDB, kind: str, format: Any = "ndjson", above: int = 0) -> Any:  # noqa: A002
        statement = IN_ORDER.where(Post.id > above)
        headers = {"X-Kind": kind}
        return await answer.stream(
            db, statement, SCHEMAS[kind], format=format, batch_size=2, headers=headers
        )

    @app.get("/comments")
    async def comments(db: ReadDB, format: Any = "ndjson") -> Any:  # noqa: A002
        statement = select(Comment).order_by(Comment.id)
        return await answer.stream(db, statement, list[Strict], format=format, batch_size=1)

    @app.get("/written/{kind}")
    async def written(
        db: Annotated[AsyncSession, Depends(database.get_db)], kind: str
    ) -> StreamingResponse:
        db.add(Tag(id=70, name="written"))
        return await answer.stream(db, IN_ORDER, SCHEMAS[kind], batch_size=1)

    return app


@KINDS
async def test_lines(database: Database, kind: str):
    """Each row is the JSON of a line, in batches that end somewhere."""
    async with running(application(database)) as http:
        response = await http.get("/posts", params={"kind": kind})
        assert [json.loads(line) for line in response.text.splitlines()] == ROWS[kind]
        assert response.text.endswith("\n")
        assert response.headers["content-type"] == "application/x-ndjson"
        assert response.headers["x-kind"] == kind


@KINDS
async def test_arrays(database: Database, kind: str):
    """All rows are one JSON array."""
    async with running(application(database)) as http:
        response = await http.get("/posts", params={"kind": kind, "format": "json"})
        assert response.json() == ROWS[kind]
        assert response.headers["content-type"] == "application/json"
        one = await http.get("/posts", params={"kind": kind, "format": "json", "above": 2})
        assert one.json() == ROWS[kind][2:]


@KINDS
async def test_nothing(database: Database, kind: str):
    """No line, or an array without items."""
    async with running(application(database)) as http:
        response = await http.get("/posts", params={"kind": kind, "above": 9})
        assert (response.status_code, response.content) == (200, b"")
        response = await http.get("/posts", params={"kind": kind, "above": 9, "format": "json"})
        assert response.json() == []


@pytest.mark.databases("sqlite", "postgresql-asyncpg", "postgresql-psycopg")
async def test_statements_do_not_grow_with_rows(database: Database):
    """One statement reads all rows and what is related to them."""
    async with database.read_session() as session:
        with assert_queries(database, exactly=1):
            response = await answer.stream(session, IN_ORDER, PostOut, batch_size=1)
            assert len([chunk async for chunk in response.body_iterator]) == 3


@pytest.mark.parametrize("schema", [Body, CheckedBody])
async def test_memory_is_constant(database: Database, schema: Any):
    """Of 10,000 rows with 10 MB of text, few are in memory at a time."""
    async with database.session() as session:
        for start in range(0, 10_000, 1000):
            numbers = range(start + 10, start + 1010)
            values = [{"id": n, "author_id": 1, "title": "t", "body": "x" * 1000} for n in numbers]
            await session.execute(insert(Post), values)
    async with database.read_session() as session:
        tracemalloc.start()
        try:
            response = await answer.stream(session, select(Post), schema, batch_size=100)
            sent = 0
            async for chunk in response.body_iterator:
                sent += len(chunk)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert sent > 10_000_000
    assert peak < 3_000_000


@KINDS
@pytest.mark.parametrize("spec_version", ["2.3", "2.4"])
async def test_client_that_leaves(database: Database, kind: str, spec_version: str):
    """The connection is back in the pool, and the rest of the rows is not read."""
    async with database.session() as session:
        values = [{"id": n, "author_id": 1, "title": "t"} for n in range(10, 1000)]
        await session.execute(insert(Post), values)
    path = f"/posts?kind={kind}"
    request = Request(application(database), path, spec_version=spec_version)

    async def leave(message: dict[str, Any]) -> None:
        if message.get("body"):
            assert checked_out(database) == 1
            request.left.set()
            await asyncio.sleep(0.05)

    request.on_send = leave
    with contextlib.suppress(ClientDisconnect):
        await request.run()
    assert request.body.count(b"\n") < 900
    await eventually(lambda: checked_out(database) == 0)


async def test_row_that_does_not_fit_breaks_off(database: Database):
    """Lines before it are sent; a client sees that the end is missing, and the connection is back."""
    app = application(database)
    for path, sent in (("/comments", b'"id"'), ("/comments?format=json", b"[")):
        request = Request(app, path)
        with pytest.raises(ValueError, match=r"NULL|author_id"):
            await request.run()
        assert request.status == 200
        assert sent in request.body
        assert not request.body.endswith(b"]")
        assert request.sent[-1].get("more_body") is True
        assert checked_out(database) == 0


async def test_stream_of_a_session_that_writes(database: Database):
    """What the handler wrote is committed before the first row is sent; all rows come."""
    app = application(database)
    for kind in ("title", "post", "checked-post"):
        async with database.session() as session:
            tag = await session.get(Tag, 70)
            if tag is not None:
                await session.delete(tag)
        request = Request(app, f"/written/{kind}")
        await request.run()
        assert [json.loads(line) for line in request.body.splitlines()] == ROWS[kind]
        async with database.read_session() as session:
            assert await session.get(Tag, 70) is not None


async def test_stream_in_a_sandbox(database: Database):
    """Rows of the test's own transaction are streamed."""
    async with sandbox(database) as session:
        session.add(Post(id=9, author_id=1, title="Mine"))
        await session.flush()
        async with running(application(database)) as http:
            response = await http.get("/posts", params={"kind": "title", "above": 3})
            assert response.json() == {"id": 9, "title": "Mine"}
            response = await http.get("/written/title")
            assert len(response.text.splitlines()) == 4


async def test_outage_in_the_handler(driver: str):
    """The statement is sent before the response begins: a server that is away is 503."""
    with PostgresServer() as server:
        url = server.url().replace("postgresql:", f"postgresql+{driver}:")
        database = Database(DatabaseSettings(url=url, environment="staging", pool_timeout=2))
        await database.start(create_tables=Base.metadata)
        app = application(database)
        install_error_handlers(app, metadata=Base.metadata)
        async with client(app) as http:
            await fill(database)
            assert (await http.get("/posts?kind=post")).status_code == 200
            server.stop()
            response = await http.get("/posts?kind=post")
            assert response.status_code == 503
            assert response.headers["content-type"] == "application/problem+json"
        await database.stop()


# What is refused


async def test_refusals(database: Database):
    """Pages, optional rows, unknown formats, missing attributes, and writes."""
    async with database.read_session() as session:
        for schema in (Page[Title], Title | None):
            with pytest.raises(ConfigurationError, match="A stream sends rows"):
                await answer.stream(session, IN_ORDER, schema)
        with pytest.raises(ConfigurationError, match="'ndjson' or 'json'"):
            await answer.stream(session, IN_ORDER, Title, format="csv")  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match="no attribute 'missing'"):
            await answer.stream(session, IN_ORDER, Missing)
        writes: Any = insert(Post).values(id=9, author_id=1, title="a")
        with pytest.raises(ConfigurationError, match=r"a stream reads.*select\(\)"):
            await answer.stream(session, writes, Title)


class Missing(BaseModel):
    missing: int
