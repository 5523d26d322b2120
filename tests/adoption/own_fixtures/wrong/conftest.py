"""Fixtures that start the application before the plugin can, and each what its message says."""

import pytest
from asgi_lifespan import LifespanManager
from fastapi.testclient import TestClient

from app.main import app


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
async def started():
    async with LifespanManager(app):
        yield


@pytest.fixture(scope="module")
def client():
    with TestClient(app) as client:
        yield client
