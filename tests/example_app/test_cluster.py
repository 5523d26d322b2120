"""The example application on the servers of ``make run-cluster``."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil

from tests.example_app.conftest import ROOT


def test_reads_go_on_without_a_standby_and_without_the_primary(tmp_path: Path) -> None:
    """A client sees what it has written; the health routes tell what is down; no process is left."""
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "example_app.cluster", "--port=0"],
            cwd=ROOT,
            stdout=output,
            stderr=output,
        )
    try:
        eventually(lambda: "startup complete" in text(log), process)
        servers = [
            int(number) for number in re.findall(r"(?:primary|standby) +\d+ +(\d+)", text(log))
        ]
        primary, standby, _ = servers
        (address,) = re.findall(r"http://\S+(?=/docs)", text(log))
        with httpx.Client(base_url=address) as client:
            eventually(lambda: health(client) == "2 of 2", process)
            assert client.post("/users", json=user("Ada")).status_code == 201
            assert client.get("/users").json()["items"][0]["name"] == "Ada"
            os.kill(standby, signal.SIGQUIT)
            eventually(lambda: health(client) == "1 of 2", process)
            assert client.get("/users").status_code == 200
            os.kill(primary, signal.SIGQUIT)
            eventually(lambda: client.post("/users", json=user("Eve")).status_code == 503, process)
            # Another client: whether a write has been stored that got no answer, only the primary knows.
            assert httpx.get(f"{address}/users").json()["items"][0]["name"] == "Ada"
            assert client.get("/health/ready").json()["status"] == "degraded"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 0
        assert "Traceback" not in text(log)
    finally:
        process.kill()
    assert not any(runs(number) for number in servers)


def runs(number: int) -> bool:
    """Return whether a process runs; in a container without init its end may leave a zombie."""
    try:
        return bool(psutil.Process(number).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def health(client: httpx.Client) -> str:
    """Return how many replicas serve."""
    return str(client.get("/health/ready").json()["replicas"])


def user(name: str) -> dict[str, str]:
    """Return the body of a new user."""
    return {"name": name, "email": f"{name.lower()}@example.org"}


def text(log: Path) -> str:
    """Return what the process has printed."""
    return log.read_text()


def eventually(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Wait until the condition holds, as long as the process runs."""
    deadline = time.monotonic() + 30
    while not condition():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
