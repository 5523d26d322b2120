"""Users of the example application."""

import asyncio

import pytest
from httpx import AsyncClient

ADA = {"name": "Ada", "email": "ada@example.org"}


async def test_a_created_user_can_be_read(client: AsyncClient) -> None:
    """What a 201 answers is what a GET finds."""
    created = await client.post("/users", json={"name": " Zoë ☃ ", "email": "Zoe@Example.org"})
    assert created.status_code == 201
    user = created.json()
    assert user == {"id": user["id"], "name": "Zoë ☃", "email": "zoe@example.org"}
    found = await client.get(f"/users/{user['id']}")
    assert (found.status_code, found.json()) == (200, user)


async def test_an_email_address_is_taken_once(client: AsyncClient) -> None:
    """A duplicate is a 409 that says so, and leaves no trace."""
    assert (await client.post("/users", json=ADA)).status_code == 201
    again = await client.post("/users", json={"name": "Eve", "email": "ADA@example.org"})
    assert again.status_code == 409
    assert again.headers["content-type"] == "application/problem+json"
    assert again.json()["detail"] == "The e-mail address is taken."
    assert again.json()["constraint"] == "uq_users_email"
    assert [user["name"] for user in (await client.get("/users")).json()["items"]] == ["Ada"]


async def test_of_simultaneous_duplicates_one_wins(client: AsyncClient) -> None:
    """The constraint decides, so a race cannot end in two users or an error 500."""
    answers = await asyncio.gather(*(client.post("/users", json=ADA) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [201] + 7 * [409]


async def test_users_are_listed_page_by_page(client: AsyncClient) -> None:
    """Limit and offset cut a window out of the users in order of creation."""
    for name in "abcde":
        await client.post("/users", json={"name": name, "email": f"{name}@example.org"})
    page = await client.get("/users", params={"limit": 2, "offset": 1})
    assert [user["name"] for user in page.json()["items"]] == ["b", "c"]
    assert {**page.json(), "items": []} == {
        "items": [],
        "total": 5,
        "offset": 1,
        "limit": 2,
        "has_more": True,
    }
    beyond = (await client.get("/users", params={"offset": 5})).json()
    assert (beyond["items"], beyond["total"], beyond["has_more"]) == ([], 5, False)


async def test_a_page_is_bounded(client: AsyncClient) -> None:
    """A client gets neither the whole table nor a number of rows that the database cannot take."""
    for query in ["limit=0", "limit=101", "offset=-1", f"offset={2**31}"]:
        assert (await client.get(f"/users?{query}")).status_code == 422, query


async def test_an_unknown_user_is_not_found(client: AsyncClient) -> None:
    """The largest id there can be is a 404 like any other."""
    answer = await client.get(f"/users/{2**31 - 1}")
    assert answer.status_code == 404
    assert answer.json()["detail"] == "User not found."


async def test_an_impossible_id_is_refused(client: AsyncClient) -> None:
    """A number that does not fit the column never reaches the database."""
    for user_id in ["0", "-1", "x", "1.5", str(2**31), "9" * 100]:
        assert (await client.get(f"/users/{user_id}")).status_code == 422, user_id


async def test_a_user_that_does_not_fit_is_refused(client: AsyncClient) -> None:
    """What the columns cannot hold is the client's error, with 422."""
    for change in _REFUSED:
        assert (await client.post("/users", json=ADA | change)).status_code == 422, change
    assert (await client.get("/users")).json()["items"] == []


_REFUSED: list[dict[str, object]] = [
    {"name": ""},
    {"name": "   "},
    {"name": None},
    {"name": "A" * 101},
    {"name": "A\x00da"},
    {"email": "ada"},
    {"email": "ada@example"},
    {"email": "a@da@example.org"},
    {"email": "a da@example.org"},
    {"email": "ada\x00@example.org"},
    {"email": "a" * 250 + "@example.org"},
]


@pytest.mark.parametrize(
    "body",
    [
        r'{"name": "\ud800", "email": "ada@example.org"}',
        r'{"name": "Ada", "email": "\udfff@example.org"}',
        '{"name": NaN, "email": "ada@example.org"}',
        '{"name": Infinity, "email": "ada@example.org"}',
        r'"\ud800"',
        "NaN",
    ],
)
async def test_a_value_that_json_cannot_answer_is_refused(client: AsyncClient, body: str) -> None:
    """Python parses it, and the 422 does not repeat it: a response could not contain it."""
    answer = await client.post("/users", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert all(detail.keys() == {"type", "loc", "msg"} for detail in answer.json()["errors"])
    assert (await client.get("/users")).json()["items"] == []


async def test_the_longest_values_fit(client: AsyncClient) -> None:
    """The limits of the schema are those of the columns, in characters."""
    email = "a" * 242 + "@example.org"
    answer = await client.post("/users", json={"name": "☃" * 100, "email": email})
    assert answer.status_code == 201


async def test_the_root_leads_to_the_api_page(client: AsyncClient) -> None:
    """A browser that opens the server sees something."""
    answer = await client.get("/", follow_redirects=True)
    assert (answer.status_code, answer.url.path) == (200, "/docs")
