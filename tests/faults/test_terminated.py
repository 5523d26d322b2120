"""A server process that is terminated under load answers what it has accepted, and loses nothing."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from fastapi_asyncdb import Database, DatabaseSettings
from tests.support.application import stored
from tests.support.databases import ONE_DRIVER

pytestmark = [pytest.mark.promise("T24"), pytest.mark.databases(*ONE_DRIVER)]

ROOT = Path(__file__).parents[2]
ENOUGH = 60
"""Acknowledged writes before the signal."""


@asynccontextmanager
async def served(
    url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[str, Callable[[], None]]]:
    """Serve the application in a process; yield its address, and what sends it SIGTERM."""
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setenv("FOLDER", str(folder))
    # Another process might take a port that is free now.
    with socket.socket() as bound, (folder / "log").open("wb") as log:
        bound.bind(("127.0.0.1", 0))
        port, number = bound.getsockname()[1], bound.fileno()
        arguments = ["-m", "uvicorn", "tests.support.terminated_app:app", f"--fd={number}"]
        process = await asyncio.create_subprocess_exec(
            sys.executable, *arguments, cwd=ROOT, stdout=log, stderr=log, pass_fds=(number,)
        )
    try:
        while b"Application startup complete" not in (folder / "log").read_bytes():
            assert process.returncode is None, (folder / "log").read_text()
            await asyncio.sleep(0.05)
        yield f"http://127.0.0.1:{port}", process.terminate
        async with asyncio.timeout(20):
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert "Traceback" not in (folder / "log").read_text()


class Load:
    """Clients that write until the server is gone.

    Args:
        client: For all.
    """

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self._number = 0
        self.answers: dict[int, int] = {}
        """The status of each request that was answered."""
        self.is_enough = asyncio.Event()

    async def run(self) -> None:
        """Send one request after the other."""
        while True:
            self._number = number = self._number + 1
            try:
                answer = await self._client.post(f"/notes/{number}")
            except httpx.TransportError:
                return
            self.answers[number] = answer.status_code
            if len(self.answers) == ENOUGH:
                self.is_enough.set()


def lines(file: Path) -> list[str]:
    """Return the lines that the application has written."""
    return file.read_text().splitlines()


async def test_terminated_server_loses_nothing(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Each request that has reached the application is a 201 with its rows, and each row has its 201."""
    async with (
        served(database_url, tmp_path, monkeypatch) as (address, terminate),
        httpx.AsyncClient(base_url=address, timeout=20) as client,
    ):
        load = Load(client)
        clients = [asyncio.create_task(load.run()) for _ in range(10)]
        await load.is_enough.wait()
        terminate()
        await asyncio.gather(*clients)
    assert set(load.answers.values()) == {201}
    assert {int(number) for number in lines(tmp_path / "received")} == load.answers.keys()
    acknowledged = lines(tmp_path / "acknowledged")
    async with Database(DatabaseSettings(url=database_url)) as database:
        texts = await stored(database)
    jobs = [text for text in texts if text.startswith("job")]
    assert sorted(jobs) == sorted(acknowledged)
    assert {text for text in texts if not text.startswith("job")} == {
        text for number in load.answers for text in (f"{number}", f"after {number}")
    }
