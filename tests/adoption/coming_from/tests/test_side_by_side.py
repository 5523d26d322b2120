"""A move in steps: routes of both kinds in one application, on one database."""

from importlib import import_module
from types import ModuleType
from typing import Any
from uuid import uuid4

import pytest
from httpx import ASGITransport, AsyncClient

from answers import data, items
from fastapi_asyncdb import DB


@pytest.fixture
def moved(application: ModuleType) -> str:
    """A route that has moved, in the application that has not; with the models that it has."""
    path = f"/moved/{uuid4().hex}"

    async def create_book(title: str, author_id: int, db: DB) -> int:
        book: Any = application.Book(title=title, author_id=author_id)
        db.add(book)
        await db.flush()
        return book.id

    application.app.post(path, status_code=201)(create_book)
    return path


async def test_routes_move_one_by_one(
    application: ModuleType, client: AsyncClient, author: int, moved: str
) -> None:
    """Each kind of route sees what the other has stored."""
    created = await client.post(moved, params={"title": "Emma", "author_id": author})
    assert created.status_code == 201
    assert data(await client.get(f"/books/{created.json()}"))["title"] == "Emma"
    assert items(await client.get("/books", params={"author_id": author})) == ["Emma"]


async def test_an_application_that_is_half_moved() -> None:
    """Its own lifespan runs inside of ours."""
    app = import_module("apps.textbook.during").app
    transport = ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        AsyncClient(transport=transport, base_url="http://test") as client,
    ):
        author = (await client.post("/authors", json={"name": uuid4().hex})).json()["id"]
        await client.post("/books", json={"title": "Emma", "author_id": author})
        assert items(await client.get("/books", params={"author_id": author})) == ["Emma"]
