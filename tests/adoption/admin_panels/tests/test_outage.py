"""Pages of the panels while nothing listens where the database should be."""

import asyncio
import socket

import httpx
import pytest

from shop.app import app, database


async def get(page: str) -> httpx.Response:
    """Ask the application, whose database is away; an error that it does not answer is raised."""
    await database.start(require_connection=False)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        answer = await client.get(page)
    await database.stop()
    return answer


@pytest.mark.parametrize("page", ["/sqladmin/product/list", "/panel/product/list", "/products"])
def test_outage(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The panels answer 503, and so does the application."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        monkeypatch.setenv("DATABASE_URL", f"postgresql://shop@127.0.0.1:{port}/shop")
        answer = asyncio.run(get(page))
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert answer.json()["title"] == "Database not available"
