"""The activity log of the example application, with MONGO_URL and without."""

import importlib
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest
from httpx import AsyncClient

from fastapi_asyncdb import default_database
from fastapi_asyncdb.testing import DatabaseTemplate, async_client, isolated_database
from tests.example_app.conftest import ROOT
from tests.support.mongo_wire import MongoWire, mongo_wire

USER = {"name": "Ada Lovelace", "email": "ada@example.org"}
READ_AT_IMPORT = ("example_app.main", "example_app.routes.activities", "example_app.activity_log")


@pytest.fixture
def wire() -> Iterator[MongoWire]:
    """A server of the test's own."""
    with mongo_wire() as wire:
        yield wire


@pytest.fixture
async def recorded(
    wire: MongoWire, template: DatabaseTemplate, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[AsyncClient]:
    """A client of the application as it is imported with MONGO_URL."""
    monkeypatch.setenv("MONGO_URL", wire.url)
    monkeypatch.setenv("MONGO_DATABASE", f"test_{uuid4().hex}")
    monkeypatch.setenv("MONGO_SERVER_SELECTION_TIMEOUT", "2")
    for name in READ_AT_IMPORT:
        monkeypatch.delitem(sys.modules, name, raising=False)
    app = importlib.import_module("example_app.main").app
    async with (
        isolated_database(default_database, template),
        async_client(app, base_url="http://example") as client,
    ):
        yield client
    for name in READ_AT_IMPORT:
        sys.modules.pop(name, None)


async def test_what_was_committed_is_recorded(recorded: AsyncClient) -> None:
    """And nothing else: a duplicate leaves no record."""
    user = (await recorded.post("/users", json=USER)).json()["id"]
    assert (await recorded.post("/users", json=USER)).status_code == 409
    for title in ("On engines", "On looms"):
        post = {"author_id": user, "title": title, "body": "..."}
        assert (await recorded.post("/posts", json=post)).status_code == 201
    page = (await recorded.get("/activities", params={"limit": 2})).json()
    assert [item["text"] for item in page["items"]] == ["On looms", "On engines"]
    rest = (await recorded.get("/activities", params={"cursor": page["next_cursor"]})).json()
    assert [item["action"] for item in rest["items"]] == ["user created"]
    counts = (await recorded.get("/activities/counts")).json()
    assert [(each["action"], each["count"]) for each in counts] == [
        ("post published", 2),
        ("user created", 1),
    ]
    found = (await recorded.get("/activities/search", params={"text": "looms"})).json()
    assert [each["text"] for each in found] == ["On looms"]
    assert (await recorded.get("/activities/search", params={"text": "x" * 101})).status_code == 422


async def test_application_works_while_the_log_is_away(
    recorded: AsyncClient, wire: MongoWire, caplog: pytest.LogCaptureFixture
) -> None:
    """The user is stored, the record is lost and logged, and the log answers 503."""
    wire.refuse()
    assert (await recorded.post("/users", json=USER)).status_code == 201
    assert "on_commit hook write failed" in caplog.text
    away = await recorded.get("/activities")
    assert (away.status_code, away.headers["content-type"]) == (503, "application/problem+json")
    assert (await recorded.get("/health/ready")).status_code == 200


def test_without_the_variable_pymongo_is_not_imported() -> None:
    """Nor are there routes."""
    script = """
import sys
from example_app.main import app
assert not [name for name in sys.modules if name.partition(".")[0] in ("pymongo", "bson")]
assert not [path for path in app.openapi()["paths"] if "activities" in path]
"""
    environment = {"PATH": "", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT, env=environment)
