"""The example application as its users run it: migrated, and served by a process of its own."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.example_app.conftest import ROOT
from tests.support.databases import ONE_DRIVER
from tests.support.warm_python import WarmPython

pytestmark = pytest.mark.databases(*ONE_DRIVER)

Serve = Callable[[], AbstractContextManager[httpx.Client]]


@pytest.fixture
def serve(
    database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, python: WarmPython
) -> Serve:
    """Migrate the database; what is returned starts a server on it, and stops it in the end."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    migrate = ("-m", "alembic", "-c", "example_app/alembic.ini", "upgrade", "head")
    python.run(*migrate, cwd=ROOT, env=os.environ).check_returncode()

    @contextmanager
    def serve() -> Iterator[httpx.Client]:
        log = tmp_path / "log"
        # Another process might take a port that is free now.
        with socket.socket() as bound, log.open("wb") as output:
            bound.bind(("127.0.0.1", 0))
            port, number = bound.getsockname()[1], bound.fileno()
            arguments = ["example_app.main:app", f"--fd={number}", "--timeout-graceful-shutdown=5"]
            process = subprocess.Popen(
                [sys.executable, "-m", "uvicorn", *arguments],
                cwd=ROOT,
                stdout=output,
                stderr=output,
                pass_fds=(number,),
            )
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
                while not _answers(client):
                    assert process.poll() is None, log.read_text()
                    time.sleep(0.05)
                yield client
        finally:
            process.terminate()
            process.wait(timeout=10)
        assert "Traceback" not in log.read_text()

    return serve


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/").is_redirect
    except httpx.ConnectError:
        return False


def test_events_reach_the_clients_that_listen(serve: Serve) -> None:
    """Forty streams are open, more than there are connections, and a post reaches all of them."""
    with serve() as client, ExitStack() as stack:
        ada = _create(client, "/users", name="Ada", email="ada@example.org")
        first = _create(client, "/posts", author_id=ada["id"], title="First", body="1")
        streams = [
            stack.enter_context(client.stream("GET", "/events/posts", timeout=10)).iter_lines()
            for _ in range(40)
        ]
        assert {_next_id(lines) for lines in streams} == {first["id"]}
        second = _create(client, "/posts", author_id=ada["id"], title="Second", body="2")
        assert {_next_id(lines) for lines in streams} == {second["id"]}
        seen = {"Last-Event-ID": str(first["id"])}
        late = stack.enter_context(client.stream("GET", "/events/posts", headers=seen))
        assert _next_id(late.iter_lines()) == second["id"]


def _next_id(lines: Iterator[str]) -> int:
    return next(int(line.removeprefix("id: ")) for line in lines if line.startswith("id: "))


def test_what_was_answered_is_there_after_a_restart(serve: Serve) -> None:
    """Users, posts and balances outlive the process; what was refused left nothing."""
    with serve() as client:
        ada = _create(client, "/users", name="Ada", email="ada@example.org")
        post = _create(client, "/posts", author_id=ada["id"], title="Notes", body="☃")
        rich = _create(client, "/accounts", owner_id=ada["id"], balance=100)
        poor = _create(client, "/accounts", owner_id=ada["id"], balance=0)
        transfer = {"from_account": rich["id"], "to_account": poor["id"], "amount": 60}
        assert client.post("/transfers", json=transfer).status_code == 200
        assert client.post("/transfers", json=transfer).status_code == 409
        _refuses(client)
        assert client.get("/health/live").json() == {"status": "ok"}
        assert client.get("/health/ready").json() == {"status": "ok"}
    with serve() as client:
        assert client.get("/users").json()["items"] == [ada]
        assert [json.loads(line) for line in client.get("/export/posts").iter_lines()] == [post]
        assert client.get(f"/accounts/{rich['id']}").json()["balance"] == 40
        assert client.get(f"/accounts/{poor['id']}").json()["balance"] == 60


def _create(client: httpx.Client, path: str, **body: object) -> dict[str, object]:
    answer = client.post(path, json=body)
    assert answer.status_code == 201
    created: dict[str, object] = answer.json()
    return created


def _refuses(client: httpx.Client) -> None:
    eve = {"name": "Eve", "email": "ada@example.org"}
    assert client.post("/users", json=eve).status_code == 409
    assert client.post("/users", json=eve | {"name": "E\x00ve"}).status_code == 422
    assert client.get("/users/999").status_code == 404
    assert client.get(f"/users/{2**63}").status_code == 422
    assert client.get(f"/users?offset={2**63}").status_code == 422
