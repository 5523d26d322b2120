"""Answers in routes: status, headers, errors, entity tags, and COMMIT before the response."""

import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI, Request
from pydantic import BaseModel
from sqlalchemy import MetaData, func, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import Answer, Database, answer, install_error_handlers, on_commit
from tests.data.answers.forum import (
    ADA,
    POSTS,
    TITLES,
    Author,
    Base,
    Comment,
    Post,
    PostOut,
    Title,
    fill,
)
from tests.support.application import Base as NoteBase
from tests.support.application import Note, Reply, running, with_tables
from tests.support.application import Request as Exchange
from tests.support.kept_tables import merged

TABLES = merged(Base.metadata, NoteBase.metadata)


class ReplyOut(BaseModel):
    id: int
    note_id: int


class CheckedReply(ReplyOut):
    def model_post_init(self, context: Any) -> None:
        """Keep the database from building the JSON."""


class WithAuthor(BaseModel):
    """Its author is never missing."""

    text: str
    author: Title


class NewPost(BaseModel):
    title: str


@pytest.fixture
def tables() -> MetaData:
    """The tables of ``database``."""
    return TABLES


@pytest.fixture
async def database(database_url: str, missing_tables: MetaData | None) -> AsyncIterator[Database]:
    """A database with three posts; after the test, every connection must be back in its pool."""
    async with with_tables(database_url, missing_tables) as database:
        await fill(database)
        yield database


def application(database: Database) -> FastAPI:
    """Return an application without handlers of errors."""
    app = FastAPI()
    DB = Annotated[AsyncSession, Depends(database.get_db)]
    ReadDB = Annotated[AsyncSession, Depends(database.get_read_db)]

    @app.get("/posts")
    async def posts(db: ReadDB) -> Answer[list[PostOut]]:
        return await answer(db, select(Post).order_by(Post.id), list[PostOut])

    @app.get("/posts/{number}")
    async def post(db: ReadDB, number: int) -> Answer[PostOut]:
        return await answer(db, select(Post).where(Post.id == number), PostOut)

    @app.get("/by-title")
    async def by_title(db: ReadDB) -> Answer[Title]:
        return await answer(db, select(Post), Title)

    @app.post("/posts", status_code=201)
    async def create(db: DB, new: NewPost) -> Answer[Title]:
        values = {"id": 9, "author_id": 1, **new.model_dump()}
        location = {"Location": "/posts/9"}
        statement = insert(Post).values(values)
        return await answer(db, statement, Title, status_code=201, headers=location)

    @app.post("/replies/{note}")
    async def reply(db: DB, note: int, checked: bool = False) -> Any:
        statement = insert(Reply).values(id=1, note_id=note)
        schema: Any = CheckedReply if checked else ReplyOut
        return await answer(db, statement, schema, status_code=201)

    @app.get("/tagged/{number}")
    async def tagged(db: ReadDB, number: int, request: Request) -> Answer[Title]:
        headers = {"Cache-Control": "max-age=5"}
        statement = select(Post).where(Post.id == number)
        return await answer(db, statement, Title, request=request, headers=headers)

    @app.post("/tagged")
    async def post_tagged(db: DB, request: Request) -> Answer[Title]:
        statement = insert(Post).values(id=9, author_id=1, title="New")
        return await answer(db, statement, Title, request=request, status_code=201)

    @app.get("/comments")
    async def comments(db: ReadDB) -> Answer[list[WithAuthor]]:
        return await answer(db, select(Comment), list[WithAuthor])

    return app


@pytest.fixture
async def http(database: Database) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application, which answers errors of databases with problems."""
    app = application(database)
    install_error_handlers(app, metadata=TABLES)
    async with running(app) as client:
        yield client


# What is sent


async def test_answers_are_responses(http: httpx.AsyncClient):
    """JSON with the length of its bytes."""
    response = await http.get("/posts")
    assert response.json() == POSTS
    assert response.headers["content-type"] == "application/json"
    assert response.headers["content-length"] == str(len(response.content))
    assert (await http.get("/posts/2")).json() == POSTS[1]


async def test_status_and_headers(http: httpx.AsyncClient):
    """A row that was created answers its request."""
    response = await http.post("/posts", json={"title": "Über"})
    assert (response.status_code, response.json()) == (201, {"id": 9, "title": "Über"})
    assert response.headers["location"] == "/posts/9"
    assert response.headers["content-type"] == "application/json"
    assert "etag" not in response.headers
    assert (await http.get("/posts/9")).json()["author"] == ADA


# What is no answer


async def test_no_row_is_404(http: httpx.AsyncClient):
    """As a problem, with the name of the class."""
    response = await http.get("/posts/99")
    assert (response.status_code, response.headers["content-type"]) == (
        404,
        "application/problem+json",
    )
    assert response.json()["detail"] == "Post not found."


async def test_several_rows_are_an_error(http: httpx.AsyncClient):
    """A statement that finds several where the schema is one row is a bug of the server."""
    assert (await http.get("/by-title")).status_code == 500


async def test_row_that_does_not_fit_is_an_error_of_the_server(http: httpx.AsyncClient):
    """As a response that its model refuses; the client is told nothing about the row."""
    response = await http.get("/comments")
    assert response.status_code == 500
    assert "nice" not in response.text


# COMMIT comes first


@pytest.mark.parametrize("checked", [False, True])
async def test_failing_commit_is_no_answer(database: Database, checked: bool):
    """The row was returned by its INSERT, and COMMIT refuses it: nothing of the answer is sent."""
    app = application(database)
    install_error_handlers(app, metadata=TABLES)
    exchange = Exchange(app, f"/replies/404?checked={checked}", "POST")
    await exchange.run()
    assert exchange.status == 409
    assert json.loads(exchange.body)["type"].endswith("foreign-key-violation")
    async with database.session() as session:
        assert await session.scalar(select(func.count()).select_from(Reply)) == 0
        session.add(Note(id=1, text="a"))
    exchange = Exchange(app, f"/replies/1?checked={checked}", "POST")
    await exchange.run()
    assert (exchange.status, exchange.body) == (
        201,
        b'{"id":1,"note_id":1}',
    ) or b" " in exchange.body


async def test_commit_comes_before_the_response(database: Database):
    """A client that has the answer finds the row."""
    app = application(database)
    seen: list[int | None] = []

    async def look(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            async with database.read_session() as session:
                seen.append(await session.scalar(select(func.count()).select_from(Reply)))

    async with database.session() as session:
        session.add(Note(id=1, text="a"))
    await Exchange(app, "/replies/1", "POST", on_send=look).run()
    assert seen == [1]


# Entity tags


async def test_known_bodies_are_not_sent_again(http: httpx.AsyncClient, database: Database):
    """304 has the headers of the answer and no body; a change has another tag."""
    first = await http.get("/tagged/1")
    tag = first.headers["etag"]
    assert (first.status_code, first.json()) == (200, TITLES[0])
    assert tag.startswith('W/"')
    for known in (tag, tag.removeprefix("W/"), f'"other", {tag}', "*"):
        again = await http.get("/tagged/1", headers={"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == tag
        assert again.headers["cache-control"] == "max-age=5"
        assert "content-length" not in again.headers
    for unknown in ('"other"', tag.replace('"', ""), ""):
        again = await http.get("/tagged/1", headers={"If-None-Match": unknown})
        assert (again.status_code, again.json()) == (200, TITLES[0])
    assert (await http.get("/tagged/2")).headers["etag"] != tag
    async with database.session() as session:
        post = await session.get_one(Post, 1)
        post.title = "Changed"
    changed = await http.get("/tagged/1", headers={"If-None-Match": tag})
    assert (changed.status_code, changed.json()["title"]) == (200, "Changed")


async def test_missing_rows_have_no_tag(http: httpx.AsyncClient):
    """A row that is gone is 404, also for a client that knows it."""
    response = await http.get("/tagged/99", headers={"If-None-Match": "*"})
    assert response.status_code == 404


async def test_writes_are_answered_in_any_case(http: httpx.AsyncClient):
    """304 is for requests that read: https://www.rfc-editor.org/rfc/rfc9110#section-13.1.2."""
    response = await http.post("/tagged", headers={"If-None-Match": "*"})
    assert (response.status_code, response.json()) == (201, {"id": 9, "title": "New"})
    assert response.headers["etag"].startswith('W/"')


async def test_hooks_run_after_the_commit(database: Database):
    """An answer changes nothing about them."""
    app = FastAPI()
    called: list[str] = []

    @app.post("/")
    async def create(db: Annotated[AsyncSession, Depends(database.get_db)]) -> Answer[Title]:
        on_commit(db, called.append, "committed")
        new = insert(Post).values(id=9, author_id=1, title="New")
        response = await answer(db, new, Title)
        assert called == []
        return response

    async with running(app) as http:
        assert (await http.post("/")).status_code == 200
    assert called == ["committed"]
    async with database.read_session() as session:
        assert await session.scalar(select(func.count()).select_from(Author)) == 2
