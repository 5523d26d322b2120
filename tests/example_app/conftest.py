"""The example application in the test's process, on a migrated database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from anyio import to_thread
from httpx import AsyncClient

from example_app.main import app
from fastapi_asyncdb import Database, default_database
from fastapi_asyncdb.testing import DatabaseTemplate, async_client, isolated_database
from fastapi_asyncdb.testing.migrations.commands import run_alembic

ROOT = Path(__file__).parents[2]


@pytest.fixture
def alembic_config(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Config:
    """Alembic's configuration as the command line reads it, for an empty database."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    return Config(ROOT / "example_app" / "alembic.ini")


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def template(request: pytest.FixtureRequest, server_url: str) -> Iterator[DatabaseTemplate]:
    """A migrated database, of which each test gets a copy."""
    url = "sqlite://" if request.param == "sqlite" else server_url
    template = DatabaseTemplate(url, migrate)
    with asyncio.Runner() as runner:
        runner.run(template.__aenter__())
        yield template
        runner.run(template.__aexit__())


async def migrate(database: Database) -> None:
    """Run the application's migrations, whose env.py has an event loop of its own."""
    assert database.settings is not None
    ini = ROOT / "example_app" / "alembic.ini"
    await to_thread.run_sync(run_alembic, ini, database.settings.url, command.upgrade, "head")


@pytest.fixture
async def client(template: DatabaseTemplate) -> AsyncIterator[AsyncClient]:
    """A client of the application, which commits for good: on a copy of its own."""
    async with (
        isolated_database(default_database, template),
        async_client(app, base_url="http://example") as client,
    ):
        yield client


@pytest.fixture
async def ada(client: AsyncClient) -> int:
    """The id of a user."""
    answer = await client.post("/users", json={"name": "Ada", "email": "ada@example.org"})
    user_id: int = answer.json()["id"]
    return user_id
