"""The requests of the tutorial, and what the library adds."""

import pytest
from fastapi.exceptions import ResponseValidationError
from httpx import AsyncClient
from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from app import jobs
from app.database import database
from app.models import Hero, Team
from fastapi_asyncdb.errors import ReadOnlySession


async def make(client: AsyncClient, name: str, **values: object) -> int:
    answer = await client.post("/heroes/", json={"name": name, "secret_name": "?"} | values)
    assert answer.status_code == 201
    return int(answer.json()["id"])


async def test_heroes_of_the_tutorial(asyncdb_client: AsyncClient):
    client = asyncdb_client
    hero = {"name": "Deadpond", "age": 40, "secret_name": "Dive Wilson"}
    created = (await client.post("/heroes/", json=hero)).json()
    public = {"name": "Deadpond", "age": 40, "team_id": None}
    assert created == public | {"id": created["id"]}
    path = f"/heroes/{created['id']}"
    assert (await client.get(path)).json() == created
    patched = (await client.patch(path, json={"age": 41})).json()
    assert patched == created | {"age": 41}
    assert (await client.get("/heroes/", params={"limit": 1})).json() == [patched]
    assert (await client.get("/heroes/", params={"limit": 101})).status_code == 422
    assert (await client.delete(path)).json() == {"ok": True}
    assert (await client.get(path)).status_code == 404
    assert (await client.patch(path, json={})).status_code == 404


async def test_session_of_the_test_sees_what_requests_did(
    asyncdb_client: AsyncClient, asyncdb_session: AsyncSession
):
    await make(asyncdb_client, "Rusty-Man", age=48)
    hero = (await asyncdb_session.exec(select(Hero))).one()
    assert hero.secret_name == "?"
    assert hero.created_at.tzinfo is not None
    asyncdb_session.add(Hero(name="Tarantula", secret_name="Natalia"))
    await asyncdb_session.commit()
    names = [hero["name"] for hero in (await asyncdb_client.get("/heroes/")).json()]
    assert names == ["Rusty-Man", "Tarantula"]


async def test_relationships_are_loaded_with_the_team(asyncdb_client: AsyncClient):
    client = asyncdb_client
    team = (await client.post("/teams/", params={"name": "Preventers"})).json()
    await make(client, "Tarantula", team_id=team)
    answer = (await client.get(f"/teams/{team}")).json()
    assert [hero["name"] for hero in answer["heroes"]] == ["Tarantula"]
    with pytest.raises(ResponseValidationError, match=r"selectinload\(Team\.heroes\)"):
        await client.get(f"/teams/{team}", params={"eager": False})


async def test_taken_name_is_a_conflict(asyncdb_client: AsyncClient):
    await asyncdb_client.post("/teams/", params={"name": "Z-Force"})
    answer = await asyncdb_client.post("/teams/", params={"name": "Z-Force"})
    assert answer.status_code == 409


async def test_pages_filters_imports_and_exports(asyncdb_client: AsyncClient):
    client = asyncdb_client
    rows = [{"name": f"Hero {n}", "secret_name": "?", "age": n} for n in range(7)]
    assert (await client.post("/import", json=rows)).json() == 7
    query = {"age__ge": 2, "name__icontains": "hero", "order_by": "-age", "limit": 2}
    page = (await client.get("/search", params=query)).json()
    assert ([hero["age"] for hero in page["items"]], page["total"]) == ([6, 5], 5)
    assert len((await client.get("/export")).text.splitlines()) == 7


async def test_jobs(asyncdb_session: AsyncSession):
    session = asyncdb_session
    session.add_all([Team(name="Preventers"), Hero(name="Tarantula", secret_name="?")])
    await session.commit()
    assert await jobs.join_team("Preventers", "Tarantula") == 1
    assert await database.run_in_transaction(jobs.names) == ["Tarantula"]
    assert await database.gather(jobs.names, jobs.names) == (["Tarantula"], ["Tarantula"])


async def test_reading_session_refuses_to_write(asyncdb_session: AsyncSession):
    with pytest.raises(ReadOnlySession):
        async with database.read_session() as reader:
            reader.add(Hero(name="Nobody", secret_name="?"))


async def test_admin_panel_on_the_engine_warns_of_nothing(asyncdb_client: AsyncClient):
    """Its sessions are SQLAlchemy's, whose execute() is not deprecated; a warning fails the test."""
    client = asyncdb_client
    hero = await make(client, "Deadpond")
    assert "Deadpond" in (await client.get("/admin/hero/list")).text
    assert (await client.get(f"/admin/hero/edit/{hero}")).status_code == 200
    await client.delete("/admin/hero/delete", params={"pks": hero})
    assert (await client.get(f"/heroes/{hero}")).status_code == 404
