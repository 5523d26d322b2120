"""A private Redis server for tests, from the program ``redis-server``."""

from __future__ import annotations

import shutil
import signal
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

from fastapi_asyncdb.errors import MissingExtra
from fastapi_asyncdb.testing.servers.child import ChildServer

# https://redis.io/docs/latest/operate/oss_and_stack/management/config-file/
_OPTIONS = {
    "bind": "127.0.0.1",
    "save": '""',
    "appendonly": "no",
    "daemonize": "no",
    # The watchdog finds the process by the folder in its command line.
    "set-proc-title": "no",
}


class RedisServer(ChildServer):
    """A private Redis in a folder of its own, on a free TCP port and a Unix socket.

    It comes from Debian's package ``redis-server``, or any ``redis-server`` on ``PATH``. Only this
    machine can connect, without a password. It stores nothing on disk: after a stop it is empty.
    ``with`` starts it, and stops and removes it at the end, also when this process is killed.

    Args:
        options: Lines of the configuration, which win over the kit's: ``{"maxmemory": "10mb"}``.
    """

    _opener: ClassVar[str] = "redis_server"

    def __init__(self, *, options: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._options = {**_OPTIONS, **(options or {})}

    def url(self, database: int = 0) -> str:
        """Return the URL of one of its databases, over TCP."""
        return f"redis://127.0.0.1:{self.port}/{database}"

    def socket_url(self, database: int = 0) -> str:
        """Return the URL of one of its databases, over the Unix socket."""
        return f"unix://{quote(str(self._socket))}?db={database}"

    def pause(self) -> None:
        """Let the server stand still: it accepts connections and answers none, until ``resume()``."""
        self._send(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._send(signal.SIGCONT)

    @property
    def _socket(self) -> Path:
        return self.data.parent / "socket"

    def _make(self) -> None:
        self._folder = self._make_temporary_folder("redis", None)
        self.data.mkdir()

    def _command(self) -> Sequence[str]:
        program, path = _program(), self.data / "redis.conf"
        place = {"port": str(self.port), "unixsocket": str(self._socket), "dir": str(self.data)}
        lines = [f"{name} {value}" for name, value in {**self._options, **place}.items()]
        path.write_text("\n".join([*lines, ""]))
        return (program, str(path))

    def _greets(self, client: socket.socket) -> bool:
        client.sendall(b"PING\r\n")
        return client.recv(1) in (b"+", b"-")  # an error is an answer


@contextmanager
def redis_server(*, options: Mapping[str, str] | None = None) -> Iterator[RedisServer]:
    """Run a private Redis for as long as the block runs.

    Args:
        options: Lines of the configuration, which win over the kit's.

    Yields:
        The server, which answers.

    Raises:
        MissingExtra: the program is not installed; the message names Debian's package.
        DatabaseUnavailable: it did not start; the message has the end of its log.
    """
    with RedisServer(options=options) as server:
        yield server


def _program() -> str:
    path = shutil.which("redis-server")
    if path is None:
        raise MissingExtra(
            "The program redis-server is not on PATH, and a private Redis is made of it. On Debian and "
            "Ubuntu run: apt-get install redis-server. Or set TEST_REDIS_URL to a server of yours."
        )
    return path
