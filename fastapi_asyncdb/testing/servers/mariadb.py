"""A private MariaDB server for tests, made by the programs that the system has."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

from fastapi_asyncdb.errors import DatabaseUnavailable, MissingExtra
from fastapi_asyncdb.testing.servers.child import ChildServer
from fastapi_asyncdb.testing.servers.folder import roomy_memory

# Debian has the server's programs where only root's PATH leads to.
_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"))
# What a test writes has to survive a crash of the server, but not of the machine.
# https://mariadb.com/docs/server/server-usage/storage-engines/innodb/innodb-system-variables
_OPTIONS = {
    "innodb_flush_log_at_trx_commit": "2",
    "innodb_buffer_pool_size": "64M",
    "innodb_log_file_size": "16M",
    "innodb_buffer_pool_dump_at_shutdown": "OFF",
    "innodb_temp_data_file_path": "ibtmp1:1M:autoextend",
    "skip_log_bin": "1",
    "performance_schema": "OFF",
    # No client waits for an answer of DNS, and none is blocked after failed attempts.
    "skip_name_resolve": "1",
    "max_connections": "500",
    "character_set_server": "utf8mb4",
    "bind_address": "127.0.0.1",
}
# The first packet of a server that accepts clients has version 10 of the protocol.
# https://mariadb.com/docs/server/reference/clientserver-protocol/1-connecting/connection#initial-handshake-packet
_HANDSHAKE = 10


class MariaDBServer(ChildServer):
    """A private MariaDB in a folder of its own, on a free TCP port and a Unix socket.

    Its programs are those of the system: ``apt-get install mariadb-server``. No Docker, no root, no
    fixed port. Only this machine can connect, as ``root`` without a password. Data survives a crash of
    the server, but not of the machine. ``with`` starts it, and stops and removes it at the end; on Linux
    and macOS it is removed also when this process is killed.

    Args:
        options: Settings of the server, which win over the kit's: ``{"max_connections": "4"}``.
            https://mariadb.com/docs/server/server-management/variables-and-modes/server-system-variables
        folder: Where to make its own folder. By default in memory, on a Linux with ``/dev/shm`` and
            2 GB free there, unless ``TMPDIR`` says where; else where temporary files are.
    """

    _opener: ClassVar[str] = "mariadb_server"

    def __init__(
        self, *, options: Mapping[str, str] | None = None, folder: str | Path | None = None
    ) -> None:
        super().__init__()
        self._parent = folder
        self._options = {**_OPTIONS, **(options or {})}

    @property
    def _socket(self) -> Path:
        return self.data / "socket"

    @property
    def _temporary(self) -> Path:
        """A folder for temporary tables: a server that starts deletes those of all in its folder."""
        return self.data.parent / "tmp"

    def url(self, database: str = "test", user: str = "root") -> str:
        """Return a URL over TCP; the database ``test`` is there from the start."""
        return f"mysql://{quote(user, safe='')}@127.0.0.1:{self.port}/{quote(database, safe='')}"

    def socket_url(self, database: str = "test", user: str = "root") -> str:
        """Return a URL over the Unix socket."""
        place = f"unix_socket={quote(str(self._socket), safe='')}"
        return f"mysql://{quote(user, safe='')}@/{quote(database, safe='')}?{place}"

    def _make(self) -> None:
        install = _program("mariadb-install-db")
        self._folder = self._make_folder()
        self._temporary.mkdir(exist_ok=True)
        if (self.data / "mysql").is_dir():
            return
        first = self._folder / "first.sql"
        first.write_text("CREATE DATABASE test CHARACTER SET utf8mb4;\n")
        how = ("--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db")
        _run(
            (install, *how, f"--extra-file={first}", *self._arguments()),
            f"{self!r} has no data folder",
        )

    def _make_folder(self) -> Path:
        return self._make_temporary_folder("my", self._parent or roomy_memory())

    def _arguments(self) -> list[str]:
        # The server refuses to run as root unless it is told to.
        user = ["--user=root"] if hasattr(os, "getuid") and os.getuid() == 0 else []
        options = [f"--{name}={value}" for name, value in self._options.items()]
        place = (f"--datadir={self.data}", f"--tmpdir={self._temporary}")
        return [*place, *user, *options]

    def _command(self) -> Sequence[str]:
        place = (
            f"--socket={self._socket}",
            f"--port={self.port}",
            f"--pid-file={self.data}/server.pid",
        )
        return (_program("mariadbd"), "--no-defaults", *self._arguments(), *place)

    def _greets(self, client: socket.socket) -> bool:
        return client.recv(5)[4:] == bytes((_HANDSHAKE,))


@contextmanager
def mariadb_server(
    *, options: Mapping[str, str] | None = None, folder: str | Path | None = None
) -> Iterator[MariaDBServer]:
    """Run a private MariaDB for as long as the block runs.

    Args:
        options: Settings of the server, which win over the kit's.
        folder: Where to make its own folder; by default in memory, if there is room.

    Yields:
        The server, which answers.

    Raises:
        MissingExtra: MariaDB is not installed; the message says how to install it.
        DatabaseUnavailable: it did not start; the message has the end of its log.
    """
    with MariaDBServer(options=options, folder=folder) as server:
        yield server


def has_mariadb() -> bool:
    """Return whether MariaDB's programs are installed."""
    return shutil.which("mariadbd", path=_PATH) is not None


def _program(name: str) -> str:
    path = shutil.which(name, path=_PATH)
    if path is None:
        raise MissingExtra(
            f"The program {name} is not installed, and a private MariaDB is made with it. Run: apt-get "
            "install mariadb-server (dnf install mariadb-server, brew install mariadb). Or set "
            "TEST_DATABASE_URL to a server of yours, where given_server() looks for it."
        )
    return path


def _run(command: tuple[str, ...], fact: str) -> None:
    # With a file for its output: a pipe would stay open for as long as a server that inherits it.
    with tempfile.TemporaryFile() as output:
        result = subprocess.run(  # noqa: S603 - the installed program
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False
        )
        if result.returncode:
            output.seek(0)
            lines = output.read().decode(errors="replace").splitlines()
            errors = [line for line in lines if "[ERROR]" in line] or lines[:5]
            raise DatabaseUnavailable(
                f"{fact}: {Path(command[0]).name} failed, for want of space or because of the options. "
                f"It says: {errors!r}. Correct what it says."
            )
