"""The private Redis of the testing kit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as CannotConnect

from fastapi_asyncdb.errors import DatabaseUnavailable, MissingExtra
from fastapi_asyncdb.testing import RedisServer, redis_server
from fastapi_asyncdb.testing.servers.folder import until


def test_server_answers_on_both_addresses(redis: RedisServer):
    """Over TCP and over the socket; and stores nothing beyond a stop."""
    for url in (redis.url(), redis.socket_url()):
        with Redis.from_url(url) as client:
            client.set("k", url)
            assert client.get("k") == url.encode()
    redis.restart()
    with Redis.from_url(redis.url(1)) as client:
        assert client.keys() == []


def test_states(redis: RedisServer):
    """Killed and started again, on the same port."""
    port = redis.port
    assert repr(redis) == f"<RedisServer 127.0.0.1:{port} running>"
    redis.kill()
    assert repr(redis) == f"<RedisServer 127.0.0.1:{port} stopped>"
    with Redis.from_url(redis.url()) as client, pytest.raises(CannotConnect):
        client.ping()
    redis.start()
    redis.start()
    redis.wait()
    assert redis.port == port


def test_server_is_removed_with_its_folder(redis: RedisServer):
    """Also by the watchdog, when the process that has started it is killed."""
    with redis_server() as server:
        folder = Path(unquote(urlsplit(server.socket_url()).path)).parent
        assert folder.is_dir()
    assert not folder.exists()
    script = (
        "from fastapi_asyncdb.testing import RedisServer\n"
        "server = RedisServer(); server.start()\n"
        "print(server._process.pid, server.socket_url(), flush=True); input()"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert owner.stdout is not None
    pid, url = owner.stdout.readline().split()
    owner.send_signal(signal.SIGKILL)
    owner.communicate()
    folder = Path(unquote(urlsplit(url).path)).parent
    until(lambda: not folder.exists(), 20, f"{folder} is still there")
    until(lambda: not _runs(int(pid)), 20, f"{pid} still runs")


def _runs(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().split()[2] != "Z"
    except OSError:
        return False


def test_server_that_does_not_start_says_why(redis: RedisServer):
    """The end of its log; and its folder is removed."""
    server = RedisServer(options={"maxmemory": "much"})
    with pytest.raises(DatabaseUnavailable, match="did not start"):
        server.start()
    assert server._folder is None


def test_missing_program_is_named(monkeypatch: pytest.MonkeyPatch):
    """With Debian's package."""
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingExtra, match="apt-get install redis-server"), redis_server():
        pass
