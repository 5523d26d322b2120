"""Requests and health routes while the primary, or its replicas, are down."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import Database, health_router, install_error_handlers
from fastapi_asyncdb.errors import DatabaseUnavailable
from fastapi_asyncdb.web.readiness import DatabaseState, Readiness
from tests.example_app.conftest import ROOT
from tests.support.http_server import http_server
from tests.support.replicas import WHERE, Servers, started

INI = ROOT / "example_app" / "alembic.ini"
WHOLE = {"status": "ok", "writes": "ok", "reads": "ok", "replicas": "2 of 2"}


@asynccontextmanager
async def served(database: Database, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Serve an application over HTTP: a route that writes, one that reads, and those of health."""
    app = FastAPI()
    install_error_handlers(app)
    app.include_router(health_router(database, **options))
    app.include_router(health_router(database, prefix="/writes", require_writes=True, **options))

    @app.post("/things", status_code=201)
    async def create(db: Annotated[AsyncSession, Depends(database.get_db)]) -> int:
        made = await db.execute(text("INSERT INTO thing DEFAULT VALUES RETURNING id"))
        return int(made.scalar_one())

    @app.get("/things")
    async def read(db: Annotated[AsyncSession, Depends(database.get_read_db)]) -> int:
        return int((await db.execute(WHERE)).scalar_one())

    async with http_server(app) as host, httpx.AsyncClient(base_url=f"http://{host}") as client:
        yield client


async def until_ready_says(
    client: httpx.AsyncClient, code: int, path: str = "/health/ready", **body: str
) -> None:
    """Wait for an answer: the process notices a server's end in a moment."""
    expected: tuple[int, object] = (code, body)
    answer: tuple[int, object] = (0, None)
    try:
        async with asyncio.timeout(10):
            while answer != expected:
                response = await client.get(path)
                answer = (response.status_code, response.json())
                await asyncio.sleep(0.02)
    except TimeoutError:
        assert answer == expected


async def test_ready_tells_of_replicas(
    servers: Servers, driver: str, caplog: pytest.LogCaptureFixture
):
    """An application that can do less is degraded, and gets requests for as long as it can read."""
    one, other = servers.replicas
    degraded = WHOLE | {"status": "degraded"}
    async with started(servers.settings(driver)) as database, served(database) as client:
        await until_ready_says(client, 200, **WHOLE)
        await asyncio.to_thread(one.kill)
        await until_ready_says(client, 200, **degraded | {"replicas": "1 of 2"})
        await asyncio.to_thread(servers.primary.kill)
        reading = {"writes": "unavailable", "replicas": "1 of 2"}
        await until_ready_says(client, 200, **degraded | reading)
        assert "is not available" in caplog.text
        strict = degraded | reading | {"status": "unavailable"}
        await until_ready_says(client, 503, "/writes/ready", **strict)
        await asyncio.to_thread(other.kill)
        nothing = dict.fromkeys(("status", "writes", "reads"), "unavailable")
        await until_ready_says(client, 503, **nothing, replicas="0 of 2")
        await asyncio.to_thread(servers.primary.start)
        await until_ready_says(client, 200, **degraded | {"replicas": "0 of 2"})
        await asyncio.to_thread(servers.revive)
        await until_ready_says(client, 200, **WHOLE)
        await until_ready_says(client, 200, "/writes/ready", **WHOLE)


async def test_replicas_do_not_make_up_for_migrations(servers: Servers, driver: str):
    """They lack what the primary lacks; also when it goes down after it has said so."""
    pending = {"status": "unavailable", "writes": "unavailable", "reads": "unavailable"}
    async with (
        started(servers.settings(driver)) as database,
        served(database, migrations=INI) as client,
    ):
        await until_ready_says(client, 503, **pending, replicas="0 of 2")
        await asyncio.to_thread(servers.primary.kill)
        await until_ready_says(client, 503, **pending, replicas="0 of 2")


async def test_database_that_stops_is_not_ready_with_replicas(servers: Servers, driver: str):
    """It opens no new session there either."""
    async with started(servers.settings(driver)) as database, served(database) as client:
        async with database.session():
            stop = asyncio.create_task(database.stop())
            stopped = dict.fromkeys(("status", "writes", "reads"), "unavailable")
            await until_ready_says(client, 503, **stopped, replicas="0 of 2")
        await stop
        await database.start()


def test_database_without_replicas_makes_up_for_nothing():
    """Each database is needed: the replicas of one do not read for another."""
    down = DatabaseUnavailable("down")
    whole, reading = DatabaseState(None, 2, 2), DatabaseState(down, 1, 1)
    assert Readiness([whole, reading], require_writes=False).is_ready
    lost = Readiness([whole, DatabaseState(down)], require_writes=False)
    assert not lost.is_ready
    assert lost.body()["replicas"] == "2 of 2"


async def test_reads_are_served_while_writes_are_refused(servers: Servers, driver: str):
    """Over HTTP, with the primary down: each write is a 503 that says when to come back, in time."""
    async with started(servers.settings(driver)) as database, served(database) as client:
        assert (await client.post("/things")).status_code == 201
        await asyncio.to_thread(servers.primary.kill)
        async with asyncio.timeout(5):
            writes = await asyncio.gather(*(client.post("/things") for _ in range(20)))
            reads = await asyncio.gather(*(client.get("/things") for _ in range(20)))
        assert {answer.status_code for answer in writes} == {503}
        refused = await client.post("/things")
        assert refused.headers["content-type"] == "application/problem+json"
        assert int(refused.headers["retry-after"]) > 0
        assert {answer.status_code for answer in reads} == {200}
        assert {answer.json() for answer in reads} <= servers.ports
        await asyncio.to_thread(servers.primary.start)
        async with asyncio.timeout(10):
            while (await client.post("/things")).status_code != 201:
                await asyncio.sleep(0.02)


async def test_process_that_starts_while_the_primary_is_down_reads(servers: Servers, driver: str):
    """If it is told to start without; it writes when the primary is back, and needs no restart."""
    await asyncio.to_thread(servers.primary.kill)
    database = Database(servers.settings(driver))
    await database.start(require_connection=False)
    async with served(database) as client:
        reading = {"status": "degraded", "writes": "unavailable"}
        await until_ready_says(client, 200, **WHOLE | reading)
        assert (await client.get("/things")).json() in servers.ports
        assert (await client.post("/things")).status_code == 503
        await asyncio.to_thread(servers.primary.start)
        await until_ready_says(client, 200, **WHOLE)
    await database.stop()
