"""The plugin's own client: nothing of one test is there in another, the rows of the seed are."""

import pytest
from sqlalchemy import delete, func, select

from app.main import app, current_user
from app.models import Country, Guest


@pytest.mark.parametrize("again", [1, 2])
def test_rows_are_rolled_back(asyncdb_test_client, asyncdb_sync_sandbox, asyncdb_queries, again):
    assert asyncdb_test_client.get("/countries").json() == ["AT", "CH", "DE"]
    answer = asyncdb_test_client.post("/guests", params={"name": "Ada", "country": "CH"})
    assert answer.status_code == 201
    assert [each.sql.split()[0] for each in asyncdb_queries.statements] == ["SELECT", "INSERT"]
    guest = asyncdb_sync_sandbox.run(lambda session: session.get(Guest, answer.json()))
    assert guest.name == "Ada"


async def _empty(session, *codes):
    await session.execute(delete(Country).where(Country.code.in_(codes)))
    return await session.scalar(select(func.count()).select_from(Country))


@pytest.mark.parametrize("again", [1, 2])
def test_seeded_rows_come_back(asyncdb_test_client, asyncdb_sync_sandbox, again):
    assert asyncdb_sync_sandbox.run(_empty, "AT", "DE") == 1
    assert asyncdb_test_client.get("/countries").json() == ["CH"]


def test_errors_of_work_reach_the_test(asyncdb_test_client, asyncdb_sync_sandbox):
    async def fail(session):
        session.add(Country(code="FR"))
        await session.flush()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncdb_sync_sandbox.run(fail)
    assert "FR" not in asyncdb_test_client.get("/countries").json()


def test_options_are_the_project_s_own(asyncdb_test_client):
    assert asyncdb_test_client.get("/me").json() == ["ada", "s1", "https://shop.example/me"]


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_options_hold_for_the_async_client_too(asyncdb_client):
    assert (await asyncdb_client.get("/me")).json() == ["ada", "s1", "https://shop.example/me"]


def test_overrides_work_as_they_do(asyncdb_test_client):
    app.dependency_overrides[current_user] = lambda: "eve"
    try:
        assert asyncdb_test_client.get("/me").json()[0] == "eve"
    finally:
        app.dependency_overrides.clear()


@pytest.mark.asyncdb_isolated
@pytest.mark.parametrize("again", [1, 2])
def test_a_copy_takes_real_commits(asyncdb_test_client, asyncdb_sync_sandbox, again):
    assert asyncdb_test_client.get("/countries").json() == ["AT", "CH", "DE"]
    asyncdb_test_client.post("/guests", params={"name": "Ada", "country": "CH"})

    async def two_transactions(session):
        first = await session.scalar(select(func.count()).select_from(Guest))
        await session.commit()
        return first, type((await session.connection()).sync_engine.pool).__name__

    assert asyncdb_sync_sandbox.run(two_transactions) == (1, "FairPool")


@pytest.mark.anyio
@pytest.mark.asyncdb_isolated
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("again", [1, 2])
async def test_a_copy_for_an_async_test(asyncdb_client, asyncdb_session, anyio_backend, again):
    await asyncdb_client.post("/guests", params={"name": "Ada", "country": "CH"})
    assert await asyncdb_session.scalar(select(Guest.name)) == "Ada"
