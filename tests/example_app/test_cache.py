"""The example application with and without its cache."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from fastapi_asyncdb.testing import RedisServer
from tests.example_app.conftest import ROOT
from tests.example_app.test_served import Serve, serve

__all__ = ["serve"]


def test_without_redis_url_nothing_of_it_is_imported(tmp_path: Path):
    """Neither our module nor a client of Redis."""
    script = (
        "import sys, example_app.main\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('redis', 'cashews')\n"
        "       or name.startswith('fastapi_asyncdb.extras')])"
    )
    environment = {name: value for name, value in os.environ.items() if name != "REDIS_URL"}
    run = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == "[]"


@pytest.mark.databases("sqlite")
def test_cached_post_is_current(serve: Serve, redis: RedisServer, monkeypatch: pytest.MonkeyPatch):
    """A post is answered from the cache until it is edited, deleted or restored."""
    monkeypatch.setenv("REDIS_URL", redis.url())
    with serve() as http:
        use(http)
        etag = http.get("/posts/1").headers["etag"]
        redis.kill()
        assert http.get("/posts/1").json()["title"] == "Third"
        assert http.patch("/posts/1", json={"title": "Fourth"}).status_code == 200
        assert http.get("/posts/1", headers={"if-none-match": etag}).status_code == 200


def use(http: httpx.Client) -> None:
    """Read and change a post."""
    http.post("/users", json={"name": "Ada", "email": "ada@example.org"}).raise_for_status()
    body = {"author_id": 1, "title": "First", "body": "text"}
    http.post("/posts", json=body).raise_for_status()
    first = http.get("/posts/1")
    assert first.json()["title"] == "First"
    known = {"if-none-match": first.headers["etag"]}
    assert http.get("/posts/1", headers=known).status_code == 304
    http.patch("/posts/1", json={"title": "Second"}).raise_for_status()
    assert http.get("/posts/1", headers=known).json()["title"] == "Second"
    http.delete("/posts/1").raise_for_status()
    assert http.get("/posts/1").status_code == 404
    http.post("/posts/1/restore").raise_for_status()
    assert http.get("/posts/1").status_code == 200
    http.patch("/posts/1", json={"title": "Third"}).raise_for_status()
    assert http.get("/posts/1").json()["title"] == "Third"
    assert http.get("/posts/99").status_code == 404
