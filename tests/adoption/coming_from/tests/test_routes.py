"""One suite for each application, before and after."""

from types import ModuleType
from uuid import uuid4

from httpx import AsyncClient

from answers import data, items


async def test_books_are_created_read_and_renamed(client: AsyncClient, author: int) -> None:
    """With the same paths, bodies and statuses."""
    created = await client.post("/books", json={"title": "Emma", "author_id": author})
    assert created.status_code == 201
    book = data(created)
    assert book == {"id": book["id"], "title": "Emma", "author_id": author}
    path = f"/books/{book['id']}"
    assert data(await client.get(path)) == book
    renamed = await client.patch(path, params={"title": "Persuasion"})
    assert data(renamed)["title"] == data(await client.get(path))["title"] == "Persuasion"


async def test_what_is_missing_is_404(client: AsyncClient) -> None:
    """To read, and to change."""
    assert (await client.get("/books/0")).status_code == 404
    assert (await client.patch("/books/0", params={"title": "None"})).status_code == 404


async def test_names_are_unique(client: AsyncClient) -> None:
    """The second author of a name is a conflict."""
    name = uuid4().hex
    answers = [await client.post("/authors", json={"name": name}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 409]


async def test_bodies_are_validated(client: AsyncClient, author: int) -> None:
    """An empty title is refused."""
    answer = await client.post("/books", json={"title": "", "author_id": author})
    assert answer.status_code == 422


async def test_books_of_an_author_are_listed(client: AsyncClient, author: int) -> None:
    """In pages where the application has pages."""
    for title in ("a", "b", "c"):
        await client.post("/books", json={"title": title, "author_id": author})
    listed = await client.get("/books", params={"author_id": author})
    assert items(listed) == ["a", "b", "c"]
    if isinstance(listed.json(), list):
        return
    page = await client.get("/books", params={"author_id": author, "offset": 1, "limit": 1})
    assert items(page) == ["b"]
    body = page.json()
    if "meta" in body:
        meta = {"offset": 1, "total_items": 3, "total_pages": 3, "page_number": 2}
        assert body["meta"] == meta
    else:
        assert (body["total"], body["offset"], body["limit"]) == (3, 1, 1)


async def test_jobs_have_sessions(
    application: ModuleType, client: AsyncClient, author: int
) -> None:
    """Outside of requests."""
    await client.post("/books", json={"title": "Emma", "author_id": author})
    assert await application.count_books() >= 1
