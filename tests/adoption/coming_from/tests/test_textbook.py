"""What only the textbook's page shows."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from types import ModuleType
from uuid import uuid4

import pytest
from httpx import AsyncClient
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

import behaviour
import schema
from apps.textbook import before
from fastapi_asyncdb import default_database, get_db

pytestmark = pytest.mark.parametrize(
    "application", [("textbook", "before"), ("textbook", "after")], indirect=True, ids=str
)


@pytest.fixture
async def full_pool(
    application: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[None]:
    """All connections that the defaults of SQLAlchemy and of ``DATABASE_*`` allow are in use."""
    engine: AsyncEngine = getattr(application, "engine", None) or default_database.engine
    monkeypatch.setattr(engine.pool, "_timeout", 0.1)
    async with AsyncExitStack() as stack:
        for _ in range(15):
            connection = await stack.enter_async_context(engine.connect())
            await connection.execute(select(1))
        yield


@pytest.mark.usefixtures("full_pool")
@pytest.mark.skipif(not schema.POSTGRESQL, reason="SQLite has one connection that writes")
async def test_pool_that_is_full(application: ModuleType, client: AsyncClient) -> None:
    """The answer after ``pool_timeout``."""
    name = uuid4().hex
    answer = await client.post("/authors", json={"name": name})
    column = behaviour.AFTER if "after" in application.__name__ else behaviour.BEFORE["textbook"]
    assert f"`{answer.status_code}`" == column["pool"]


async def test_overrides_of_tests_stay(application: ModuleType, client: AsyncClient) -> None:
    """``app.dependency_overrides[get_db]``, with a session that the test rolls back."""
    replaced = getattr(application, "get_db", get_db)
    async with before.SessionLocal() as session:
        application.app.dependency_overrides[replaced] = lambda: session
        try:
            created = await client.post("/authors", json={"name": uuid4().hex})
            assert created.status_code == 201
            assert await session.get(before.Author, created.json()["id"])
        finally:
            del application.app.dependency_overrides[replaced]
            await session.rollback()
        assert await session.get(before.Author, created.json()["id"]) is None
