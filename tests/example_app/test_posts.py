"""Posts of the example application, and their export."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from httpx import AsyncClient

from example_app.routes import export
from fastapi_asyncdb import default_database


async def _publish(client: AsyncClient, author: int, *titles: str) -> None:
    for title in titles:
        body = {"author_id": author, "title": title, "body": "..."}
        assert (await client.post("/posts", json=body)).status_code == 201


async def test_a_post_comes_with_its_author(client: AsyncClient, ada: int) -> None:
    """The author is loaded with the post, on every route."""
    body = {"author_id": ada, "title": "Notes", "body": "On the engine.\nAnd more."}
    created = await client.post("/posts", json=body)
    assert created.status_code == 201
    post = created.json()
    assert post["author"] == {"id": ada, "name": "Ada", "email": "ada@example.org"}
    assert (await client.get(f"/posts/{post['id']}")).json() == post
    assert (await client.get("/posts")).json() == [post]


async def test_the_time_of_a_post_names_its_zone(client: AsyncClient, ada: int) -> None:
    """Every database answers in UTC, and says so."""
    await _publish(client, ada, "Now")
    (post,) = (await client.get("/posts")).json()
    age = datetime.now(UTC) - datetime.fromisoformat(post["created_at"])
    assert abs(age) < timedelta(minutes=1)


async def test_the_newest_posts_come_first(client: AsyncClient, ada: int) -> None:
    """A page of posts begins with the last one."""
    await _publish(client, ada, "a", "b", "c")
    page = await client.get("/posts", params={"limit": 2})
    assert [post["title"] for post in page.json()] == ["c", "b"]


async def test_a_post_needs_an_author(client: AsyncClient) -> None:
    """An author who is not there is a 404."""
    answer = await client.post("/posts", json={"author_id": 1, "title": "Notes", "body": "..."})
    assert (answer.status_code, answer.json()) == (404, {"detail": "There is no user 1."})


async def test_an_unknown_post_is_not_found(client: AsyncClient) -> None:
    """There is no post in an empty table."""
    assert (await client.get("/posts/1")).status_code == 404


async def test_a_post_that_does_not_fit_is_refused(client: AsyncClient, ada: int) -> None:
    """What the columns cannot hold is the client's error, with 422."""
    for change in _REFUSED:
        body = {"author_id": ada, "title": "Notes", "body": "..."} | change
        assert (await client.post("/posts", json=body)).status_code == 422, change
    assert (await client.get("/posts")).json() == []


_REFUSED: list[dict[str, object]] = [
    {"author_id": 2**31},
    {"title": "A" * 201},
    {"title": "\x00"},
    {"body": " "},
    {"body": "A" * 10_001},
    {"body": "A\n\x00"},
]


async def test_the_export_has_every_post_once(
    client: AsyncClient, ada: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches join without a gap, also when the last one is full."""
    monkeypatch.setattr(export, "BATCH", 2)
    await _publish(client, ada, "a", "b", "c", "d\ne")
    answer = await client.get("/export/posts")
    assert answer.headers["content-type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["title"] for line in lines] == ["a", "b", "c", "d\ne"]
    assert lines[::-1] == (await client.get("/posts")).json()


async def test_the_export_of_nothing_is_empty(client: AsyncClient) -> None:
    """No posts, no lines."""
    answer = await client.get("/export/posts")
    assert (answer.status_code, answer.text) == (200, "")


async def test_the_export_holds_no_connection_while_the_client_reads(
    client: AsyncClient, ada: int
) -> None:
    """Slow clients cannot use up the pool."""
    await _publish(client, ada, "a")
    async with default_database.read_session() as session:
        lines = export.lines(session)
        assert json.loads(await anext(lines))["title"] == "a"
        assert not session.in_transaction()
        assert [line async for line in lines] == []
