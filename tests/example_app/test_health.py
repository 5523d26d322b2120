"""The routes for an orchestrator's probes."""

from httpx import AsyncClient

from example_app.main import app
from fastapi_asyncdb import DatabaseSettings, default_database
from fastapi_asyncdb.testing import async_client


async def test_application_is_alive_and_ready(client: AsyncClient) -> None:
    """Its database is migrated; the routes are no part of the API page."""
    for path in ("/health/live", "/health/ready"):
        assert (await client.get(path)).json() == {"status": "ok"}
        assert path not in app.openapi()["paths"]


async def test_database_without_migrations_is_not_ready(database_url: str) -> None:
    """A process that starts before the migrations gets no requests."""
    settings = DatabaseSettings(url=database_url)
    with default_database.override_settings(settings):
        async with async_client(app) as client:
            assert (await client.get("/health/ready")).status_code == 503
            assert (await client.get("/health/live")).status_code == 200
