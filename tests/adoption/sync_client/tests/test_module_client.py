"""A client of the module, as tutorials have it; a fixture runs the lifespan around each test."""

import pytest
from fastapi.testclient import TestClient

from app.main import app

client = TestClient(app)


@pytest.fixture(autouse=True)
def _application(asyncdb_sync_sandbox):
    with client:
        yield


@pytest.mark.parametrize("again", [1, 2])
def test_guests(again):
    client.post("/guests", params={"name": "Ada", "country": "CH"})
    assert client.get("/guests").json() == ["Ada"]
