"""Repositories and units of work as dependencies of FastAPI: session, thread, errors."""

import inspect
import threading
from collections.abc import AsyncIterator
from inspect import getsource
from typing import Annotated, Any

import fastapi
import httpx
import pytest
from fastapi import Depends, FastAPI, Request
from fastapi.dependencies import models
from fastapi.responses import JSONResponse
from packaging.version import Version
from pydantic import BaseModel, ConfigDict
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import (
    CursorPage,
    CursorQuery,
    Database,
    Page,
    PageQuery,
    ReadRepository,
    Repository,
    UnitOfWork,
    default_database,
    get_db,
)
from fastapi_asyncdb.errors import NotFoundError
from fastapi_asyncdb.testing import override_db
from tests.data.library import TABLES, Author, AuthorCreate, Authors, BookPatch, Books
from tests.support.application import client

Users = Annotated[Repository[Author], Depends()]
Readers = Annotated[ReadRepository[Author], Depends()]
Pages = Annotated[PageQuery, Depends()]
Cursors = Annotated[CursorQuery, Depends()]


class Library(UnitOfWork):
    authors: Repository[Author]
    books: Books


class Elsewhere(Repository[Author]):
    """A repository whose session is not the default one; its annotation is a string."""

    def __init__(self, session: "Annotated[AsyncSession, Depends(get_db)]") -> None:
        super().__init__(session)
        self.thread = threading.get_ident()


class AuthorOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)
    id: int
    name: str


app = FastAPI()


@app.post("/authors", status_code=201, response_model=AuthorOut)
async def create(body: AuthorCreate, users: Users) -> Author:
    """Create one."""
    return await users.create(body)


@app.get("/authors/{key}", response_model=AuthorOut)
async def get(key: int, users: Readers) -> Author:
    """Get one."""
    return await users.get_or_raise(key)


@app.get("/authors")
async def pages(users: Readers, query: Pages) -> Page[AuthorOut]:
    """List them by offset."""
    return (await users.page(query, order_by=Author.name)).to(AuthorOut)


@app.get("/walk")
async def walk(users: Readers, query: Cursors) -> CursorPage[AuthorOut]:
    """List them by cursor."""
    return (await users.cursor_page(query, order_by=Author.name)).to(AuthorOut)


@app.patch("/books/{key}")
async def patch(key: int, body: BookPatch, library: Annotated[Library, Depends()]) -> int:
    """Change one, if the version is the current one."""
    return (await library.books.update(key, body)).version


@app.post("/books")
async def publish(library: Annotated[Library, Depends()], title: str, fails: bool = False) -> int:
    """Write to two tables."""
    author = await library.authors.create(name=f"author of {title}")
    book = await library.books.create(title=title, author_id=author.id)
    if fails:
        raise NotFoundError("No such shelf.")
    return book.id


@app.get("/thread")
async def thread(elsewhere: Annotated[Elsewhere, Depends()]) -> bool:
    """Tell whether the repository was made on the event loop."""
    return elsewhere.thread == threading.get_ident()


@pytest.fixture
async def http(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[httpx.AsyncClient]:
    """A client, and the default database with the tables."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    async with default_database, client(app) as http:
        async with default_database.engine.begin() as connection:
            await connection.run_sync(TABLES.create_all)
        yield http


async def test_a_request_is_one_transaction(http: httpx.AsyncClient):
    """What is created is committed before the response; a handler that raises stores nothing."""
    created = await http.post("/authors", json={"name": "Ada"})
    assert created.status_code == 201
    assert (await http.get(f"/authors/{created.json()['id']}")).json() == created.json()
    assert (await http.post("/books?title=One")).status_code == 200
    assert (await http.post("/books?title=Two&fails=true")).status_code == 404
    page = (await http.get("/authors")).json()
    assert [author["name"] for author in page["items"]] == ["Ada", "author of One"]
    assert (page["total"], page["has_more"]) == (2, False)


async def test_what_is_not_there_is_404(http: httpx.AsyncClient):
    """The answer names the model; the log has the key."""
    response = await http.get("/authors/7")
    assert (response.status_code, response.json()) == (404, {"detail": "Author not found."})


async def test_what_has_changed_meanwhile_is_409(http: httpx.AsyncClient):
    """A client with an older version is told so."""
    key = (await http.post("/books?title=One")).json()
    assert (await http.patch(f"/books/{key}", json={"title": "Two", "version": 1})).json() == 2
    response = await http.patch(f"/books/{key}", json={"title": "Three", "version": 1})
    assert response.status_code == 409
    assert "changed or deleted this" in response.json()["detail"]


async def test_a_cursor_of_another_walk_is_422(http: httpx.AsyncClient):
    """The answer has the form of FastAPI's own."""
    await http.post("/authors", json={"name": "Ada"})
    await http.post("/authors", json={"name": "Bob"})
    page = (await http.get("/walk?limit=1")).json()
    assert [author["name"] for author in page["items"]] == ["Ada"]
    rest = (await http.get("/walk", params={"limit": 1, "cursor": page["next_cursor"]})).json()
    assert [author["name"] for author in rest["items"]] == ["Bob"]
    response = await http.get("/walk?cursor=forged")
    assert response.status_code == 422
    (detail,) = response.json()["detail"]
    assert detail["loc"] == ["query", "cursor"]


@pytest.mark.databases("sqlite")
@pytest.mark.parametrize("base", [NotFoundError, LookupError])
async def test_a_handler_of_the_application_decides(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, base: type[Exception]
):
    """One for the class or for a base class comes before the default answer."""

    async def handle(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"own": True}, 410)

    monkeypatch.setattr(app, "middleware_stack", None)
    monkeypatch.setattr(app, "exception_handlers", {**app.exception_handlers, base: handle})
    assert (await http.get("/authors/7")).status_code == 410
    monkeypatch.setattr(app, "middleware_stack", None)


@pytest.mark.databases("sqlite")
async def test_the_answers_are_the_same_with_an_overridden_session(http: httpx.AsyncClient):
    """A test with a session of its own sees what production answers."""
    async with default_database.session() as session:
        with override_db(app, session):
            assert (await http.get("/authors/7")).status_code == 404
            assert (await http.get("/walk?cursor=forged")).status_code == 422


@pytest.mark.skipif("unwrap" not in getsource(models), reason="FastAPI takes a thread: < 0.123.5")
@pytest.mark.databases("sqlite")
async def test_no_thread_for_a_repository(http: httpx.AsyncClient):
    """FastAPI makes it on the event loop: a thread would cost a sixth of a read."""
    assert (await http.get("/thread")).json() is True


def test_what_fastapi_looks_for_in_each_request_is_made_once():
    """The signature of a class is not evaluated again; each class has its own."""
    assert inspect.unwrap(Elsewhere) is inspect.unwrap(Elsewhere)
    assert inspect.unwrap(Elsewhere) is not inspect.unwrap(Repository[Author])
    assert list(inspect.signature(PageQuery).parameters) == ["offset", "limit"]


@pytest.mark.databases("sqlite")
async def test_openapi_names_bounds_and_items(http: httpx.AsyncClient):
    """A client's generator sees limits, descriptions and the type of the items."""
    document: dict[str, Any] = (await http.get("/openapi.json")).json()
    parameters = {p["name"]: p for p in document["paths"]["/authors"]["get"]["parameters"]}
    assert parameters.keys() == {"offset", "limit"}
    assert parameters["limit"]["schema"]["maximum"] == 100
    assert parameters["limit"]["schema"]["description"]
    if Version(fastapi.__version__) >= Version("0.165"):  # 0.150 has it in the schema only
        assert parameters["limit"]["description"]
    schema = document["components"]["schemas"]["Page_AuthorOut_"]
    assert schema["properties"]["items"]["items"] == {"$ref": "#/components/schemas/AuthorOut"}
    assert "has_more" in schema["required"]


async def test_awaiting_one_returns_itself(database: Database):
    """Which is what FastAPI does with it."""
    async with database.session() as session:
        authors = Authors(session)
        assert await authors is authors
