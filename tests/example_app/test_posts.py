"""Posts of the example application, and their export."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from httpx import AsyncClient

from example_app.main import app
from example_app.routes import export
from fastapi_asyncdb import default_database
from fastapi_asyncdb.testing import assert_queries

NDJSON = {"Content-Type": "application/x-ndjson"}


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
    assert (await client.get("/posts")).json()["items"] == [post]


async def test_posts_and_authors_come_in_one_statement(client: AsyncClient, ada: int) -> None:
    """A page with its total, the feed, and one post."""
    await _publish(client, ada, "a", "b")
    for path in ("/posts", "/posts/feed", "/posts/1"):
        with assert_queries(default_database, exactly=1):
            assert (await client.get(path)).status_code == 200


def test_answers_are_in_the_openapi_schema() -> None:
    """A route that answers from a statement says what, as one with a response model does."""
    models = {
        "/posts": "Page_PostOut_",
        "/posts/feed": "CursorPage_PostOut_",
        "/posts/{post_id}": "PostOut",
        "/users": "Page_UserOut_",
        "/users/{user_id}": "UserOut",
        "/accounts/{account_id}": "AccountOut",
    }
    paths = app.openapi()["paths"]
    for path, model in models.items():
        content = paths[path]["get"]["responses"]["200"]["content"]["application/json"]
        assert content["schema"] == {"$ref": f"#/components/schemas/{model}"}


async def test_the_time_of_a_post_names_its_zone(client: AsyncClient, ada: int) -> None:
    """Every database answers in UTC, and says so."""
    await _publish(client, ada, "Now")
    (post,) = (await client.get("/posts")).json()["items"]
    for name in ("created_at", "updated_at"):
        age = datetime.now(UTC) - datetime.fromisoformat(post[name])
        assert abs(age) < timedelta(minutes=1)


async def test_the_newest_posts_come_first(client: AsyncClient, ada: int) -> None:
    """A page of posts begins with the last one."""
    await _publish(client, ada, "a", "b", "c")
    page = await client.get("/posts", params={"limit": 2})
    assert [post["title"] for post in page.json()["items"]] == ["c", "b"]


async def test_the_feed_is_walked_forwards_and_backwards(client: AsyncClient, ada: int) -> None:
    """What is published meanwhile moves nothing, and the way back shows the same posts."""
    await _publish(client, ada, *"abcde")
    first = (await client.get("/posts/feed", params={"limit": 2})).json()
    await _publish(client, ada, "new")
    second = await _follow(client, first["next_cursor"])
    third = await _follow(client, second["next_cursor"])
    assert [_titles(page) for page in (first, second, third)] == [["e", "d"], ["c", "b"], ["a"]]
    assert third["next_cursor"] is None
    back = await _follow(client, third["previous_cursor"])
    assert back["items"] == second["items"]
    back = await _follow(client, back["previous_cursor"])
    assert back["items"] == first["items"]
    assert first["previous_cursor"] is None
    assert _titles(await _follow(client, back["previous_cursor"])) == ["new"]


async def _follow(client: AsyncClient, cursor: str) -> dict[str, Any]:
    page = await client.get("/posts/feed", params={"limit": 2, "cursor": cursor})
    found: dict[str, Any] = page.json()
    return found


def _titles(page: dict[str, Any]) -> list[str]:
    return [post["title"] for post in page["items"]]


async def test_posts_are_filtered_searched_and_ordered(client: AsyncClient, ada: int) -> None:
    """From the query string, on the list and in the feed alike."""
    await _publish(client, ada, "Writing well", "Wells & springs", "Notes")
    queries = {
        "": ["Notes", "Wells & springs", "Writing well"],
        "title__icontains=well&order_by=title": ["Wells & springs", "Writing well"],
        "title__istartswith=n": ["Notes"],
        "search=writing": ["Writing well"],
        f"author_id__in={ada}&author_name=Ada&title=Notes": ["Notes"],
        "author_name=Bob": [],
        "summary__is_null=false": [],
        "created_at__lt=2020-01-01T00:00:00Z": [],
        "either=title=Notes&either=search=springs": ["Notes", "Wells & springs"],
    }
    for path in ("/posts", "/posts/feed"):
        for query, titles in queries.items():
            page = (await client.get(f"{path}?{query}")).json()
            assert _titles(page) == titles, (path, query)


async def test_a_filtered_feed_is_walked(client: AsyncClient, ada: int) -> None:
    """The cursor is one of the order that the client has named."""
    await _publish(client, ada, "b", "c", "x", "a")
    params: dict[str, Any] = {"limit": 2, "order_by": "-title", "either": ["title=a", "title=b"]}
    params["either"].append("title=c")
    first = (await client.get("/posts/feed", params=params)).json()
    params["cursor"] = first["next_cursor"]
    second = (await client.get("/posts/feed", params=params)).json()
    assert [_titles(first), _titles(second)] == [["c", "b"], ["a"]]
    params["order_by"] = "title"
    assert (await client.get("/posts/feed", params=params)).status_code == 422


async def test_an_unknown_filter_is_refused(client: AsyncClient) -> None:
    """The answer names those that there are."""
    for path, own in (("/posts", "offset"), ("/posts/feed", "cursor")):
        answer = await client.get(path, params={"author.email": "ada@example.org"})
        assert answer.status_code == 422
        (error,) = answer.json()["errors"]
        assert error["loc"] == ["query", "author.email"]
        assert own in error["msg"]
        assert "title__icontains" in error["msg"]


async def test_a_forged_cursor_is_refused(client: AsyncClient) -> None:
    """It is a 422 of a type of its own, and says nothing of the cursor."""
    answer = await client.get("/posts/feed", params={"cursor": "forged"})
    assert answer.status_code == 422
    assert answer.json()["type"].endswith(":invalid-cursor")


async def test_an_edit_changes_what_was_sent(client: AsyncClient, ada: int) -> None:
    """The rest stays; null removes the summary; other fields cannot be null."""
    body = {"author_id": ada, "title": "Notes", "summary": "Short.", "body": "..."}
    post = (await client.post("/posts", json=body)).json()
    url = f"/posts/{post['id']}"
    edited = (await client.patch(url, json={"title": "More notes"})).json()
    assert edited["updated_at"] > post["updated_at"]
    assert edited == post | {
        "title": "More notes",
        "version": post["version"] + 1,
        "updated_at": edited["updated_at"],
    }
    assert (await client.patch(url, json={"summary": None})).json()["summary"] is None
    assert (await client.patch(url, json={"title": None})).status_code == 422
    assert (await client.get(url)).json()["title"] == "More notes"


async def test_an_edit_of_an_older_version_is_refused(client: AsyncClient, ada: int) -> None:
    """Of two clients that have read the same post, the second one learns of the first."""
    await _publish(client, ada, "Notes")
    (post,) = (await client.get("/posts")).json()["items"]
    url, version = f"/posts/{post['id']}", post["version"]
    first = await client.patch(url, json={"title": "First", "version": version})
    second = await client.patch(url, json={"title": "Second", "version": version})
    assert (first.status_code, second.status_code) == (200, 409)
    assert (await client.get(url)).json()["title"] == "First"


async def test_a_deleted_post_is_gone_and_can_be_restored(client: AsyncClient, ada: int) -> None:
    """No route finds it, and it comes back as it was."""
    await _publish(client, ada, "a", "b")
    (_, post) = (await client.get("/posts")).json()["items"]
    url = f"/posts/{post['id']}"
    assert (await client.delete(url)).status_code == 204
    assert [answer.status_code for answer in (await client.get(url), await client.delete(url))] == [
        404,
        404,
    ]
    assert (await client.get("/posts")).json()["total"] == 1
    assert "a" not in (await client.get("/export/posts")).text.split('"title":')[1][:4]
    restored = await client.post(f"{url}/restore")
    assert restored.json()["title"] == "a"
    assert (await client.get(url)).status_code == 200


async def test_ten_thousand_posts_are_imported(client: AsyncClient, ada: int) -> None:
    """In one request and one transaction."""
    lines = (_line(ada, f"post {number}") for number in range(10_000))
    answer = await client.post("/import/posts", content="\n".join(lines), headers=NDJSON)
    assert (answer.status_code, answer.json()) == (200, {"posts": 10_000})
    page = (await client.get("/posts", params={"limit": 1})).json()
    assert (page["total"], page["items"][0]["title"]) == (10_000, "post 9999")


@pytest.mark.parametrize(
    ("line", "status", "reason"),
    [
        ("{", 422, "Line 4: Invalid JSON: "),
        ('{"author_id": 1, "title": " ", "body": "x"}', 422, "Line 4, title: String should have"),
        ('{"author_id": 4711, "title": "x", "body": "x"}', 409, "An author does not exist."),
        ("x" * 70_000, 422, "Line 4 is longer than 65536 bytes."),
    ],
)
async def test_an_import_is_stored_as_a_whole_or_not_at_all(
    client: AsyncClient, ada: int, line: str, status: int, reason: str
) -> None:
    """One line that is not good refuses all, and the answer says which line of the file it is."""
    content = "\n".join([_line(ada, "a"), "", _line(ada, "b"), line])
    answer = await client.post("/import/posts", content=content, headers=NDJSON)
    assert answer.status_code == status
    detail: str = answer.json()["detail"]
    assert detail.startswith(reason)
    assert detail.endswith(". Nothing was stored.")
    assert (await client.get("/posts")).json()["total"] == 0


@pytest.mark.parametrize("sent", [None, "text/plain", "application/json", "multipart/form-data"])
async def test_an_import_of_another_type_is_refused(
    client: AsyncClient, ada: int, sent: str | None
) -> None:
    """A form of another site cannot send NDJSON, and a file of another kind is not read as lines."""
    headers = {"Content-Type": sent} if sent else {}
    answer = await client.post("/import/posts", content=_line(ada, "a"), headers=headers)
    assert answer.status_code == 415
    assert "application/x-ndjson" in answer.json()["detail"]
    assert (await client.get("/posts")).json()["total"] == 0
    headers = {"Content-Type": "Application/X-NDJSON; charset=utf-8"}
    answer = await client.post("/import/posts", content=_line(ada, "a"), headers=headers)
    assert answer.json() == {"posts": 1}


def _line(author: int, title: str) -> str:
    return json.dumps({"author_id": author, "title": title, "body": "..."})


async def test_a_post_needs_an_author(client: AsyncClient) -> None:
    """An author who is not there is a 404."""
    answer = await client.post("/posts", json={"author_id": 1, "title": "Notes", "body": "..."})
    assert (answer.status_code, answer.json()["detail"]) == (404, "User not found.")


async def test_an_unknown_post_is_not_found(client: AsyncClient) -> None:
    """There is no post in an empty table."""
    assert (await client.get("/posts/1")).status_code == 404


async def test_a_post_that_does_not_fit_is_refused(client: AsyncClient, ada: int) -> None:
    """What the columns cannot hold is the client's error, with 422."""
    for change in _REFUSED:
        body = {"author_id": ada, "title": "Notes", "body": "..."} | change
        assert (await client.post("/posts", json=body)).status_code == 422, change
    assert (await client.get("/posts")).json()["items"] == []


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
    assert lines[::-1] == (await client.get("/posts")).json()["items"]


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
