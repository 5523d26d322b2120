"""The example application in the test's process, on a migrated database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from anyio import to_thread
from httpx import ASGITransport, AsyncClient

from example_app.main import app
from fastapi_asyncdb import db_lifespan

ROOT = Path(__file__).parents[2]


@pytest.fixture
def alembic_config(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Config:
    """Alembic's configuration as the command line reads it, for an empty database."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    return Config(ROOT / "example_app" / "alembic.ini")


@pytest.fixture
async def client(alembic_config: Config) -> AsyncIterator[AsyncClient]:
    """A client of the application."""
    await to_thread.run_sync(command.upgrade, alembic_config, "head")
    async with (
        db_lifespan(app),
        AsyncClient(transport=ASGITransport(app), base_url="http://example") as client,
    ):
        yield client


@pytest.fixture
async def ada(client: AsyncClient) -> int:
    """The id of a user."""
    answer = await client.post("/users", json={"name": "Ada", "email": "ada@example.org"})
    user_id: int = answer.json()["id"]
    return user_id
