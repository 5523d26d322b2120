"""asgi-lifespan around a client of httpx, and of httpx2; the kit's client on either."""

import sys

import httpx
import httpx2
import pytest
from asgi_lifespan import LifespanManager
from sqlalchemy import func, select

from app.main import Tag, app
from fastapi_asyncdb.testing import async_client


@pytest.fixture(params=[httpx, httpx2])
async def client(request, asyncdb_session):
    async with LifespanManager(app) as manager:
        transport = request.param.ASGITransport(manager.app)
        async with request.param.AsyncClient(transport=transport, base_url="http://test") as client:
            yield client


@pytest.mark.parametrize("again", [1, 2])
async def test_own_client(client, asyncdb_session, again):
    assert (await client.post("/tags/new")).status_code == 201
    assert (await client.get("/tags")).json() == ["new", "seeded"]
    assert await asyncdb_session.scalar(select(func.count()).select_from(Tag)) == 2


async def test_client_of_httpx2_alone(asyncdb_session, monkeypatch):
    monkeypatch.setitem(sys.modules, "httpx", None)
    async with async_client(app, headers={"a": "b"}, follow_redirects=True) as client:
        assert isinstance(client, httpx2.AsyncClient)
        assert (await client.post("/tags/new")).status_code == 201
        assert (client.headers["a"], client.follow_redirects) == ("b", True)
