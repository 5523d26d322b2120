"""The project's own fixture of a client, and what it is told when it goes wrong."""

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from app.main import app
from app.models import Guest
from fastapi_asyncdb import default_database
from fastapi_asyncdb.errors import ConfigurationError, DatabaseNotStarted, SandboxError


@pytest.fixture
def client(asyncdb_sync_sandbox):
    with TestClient(app) as client:
        yield client


@pytest.mark.parametrize("again", [1, 2])
def test_own_fixture(client, asyncdb_sync_sandbox, again):
    assert client.get("/guests").json() == []
    client.post("/guests", params={"name": "Ada", "country": "CH"})
    assert asyncdb_sync_sandbox.run(lambda session: session.scalar(select(Guest.name))) == "Ada"


def test_two_clients_one_after_the_other(asyncdb_sync_sandbox):
    for _ in range(2):
        with TestClient(app) as client:
            assert client.get("/guests").json() == []
            client.post("/guests", params={"name": "Ada", "country": "CH"})


def test_two_clients_at_once_are_refused(client):
    with pytest.raises(SandboxError, match="one at a time"), TestClient(app):
        pass


def test_client_without_a_block_is_told(asyncdb_sync_sandbox):
    with pytest.raises(DatabaseNotStarted, match="with TestClient"):
        TestClient(app).get("/guests")
    with pytest.raises(SandboxError, match="The application does not run"):
        asyncdb_sync_sandbox.run(lambda session: session.scalar(select(Guest.name)))


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_async_sandbox_leads_to_the_fixture(asyncdb_session):
    with pytest.raises(SandboxError, match="asyncdb_test_client"), TestClient(app):
        pass


def test_development_database_is_refused():
    with pytest.raises(ConfigurationError, match="not labelled") as refused, TestClient(app):
        pass
    assert 'asyncdb_allow_urls = ["sqlite:///./app.db"]' in str(refused.value)
    assert not default_database._runs.started()
