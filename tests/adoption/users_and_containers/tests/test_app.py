"""fastapi-users on get_db, and containers that were made at import; nothing stays in the database."""

import httpx
import pytest

ADA = {"email": "ada@example.org", "password": "correct horse"}


@pytest.mark.parametrize("attempt", [1, 2])
async def test_user_registers_and_logs_in(client: httpx.AsyncClient, attempt: int) -> None:
    """Twice the same address: the sandbox has undone the first. A second one in the same is refused."""
    assert (await client.post("/auth/register", json=ADA)).status_code == 201
    assert (await client.post("/auth/register", json=ADA)).status_code == 400
    form = {"username": ADA["email"], "password": ADA["password"]}
    token = (await client.post("/auth/login", data=form)).json()["access_token"]
    me = await client.get("/users/me", headers={"Authorization": f"Bearer {token}"})
    assert me.json()["email"] == ADA["email"]


async def test_containers_give_engine_sessionmaker_and_session(client: httpx.AsyncClient) -> None:
    """They connect through the sandbox of the test, and see what the request has committed."""
    await client.post("/auth/register", json=ADA)
    assert (await client.get("/injected")).json() == [1, 1, 1]
    assert (await client.get("/located")).json() == [1, 1]
