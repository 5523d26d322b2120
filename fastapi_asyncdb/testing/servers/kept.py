"""Private servers whose data stays: for development, by the same programs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from fastapi_asyncdb.testing.servers.mariadb import MariaDBServer
from fastapi_asyncdb.testing.servers.postgresql import PostgresServer

_OPTIONS = {"fsync": "on", "full_page_writes": "on"}
"""What is kept survives a crash of the machine as well."""
_MARK = "# --- Written at each start ---"


class KeptServer(PostgresServer):
    """A private PostgreSQL in a folder that stays, with its data and its port.

    ``remove()``, and the end of ``with``, stop the server and leave the folder.

    Args:
        folder: Where the data is, or will be.
        port: By default that of the last time, or a free one.
    """

    def __init__(self, folder: str | Path, *, port: int | None = None) -> None:
        super().__init__(options=_OPTIONS)
        self._kept = Path(folder).absolute()
        self.port = port or self._last_port() or self.port

    def remove(self) -> None:
        """Stop the server; the data stays."""
        if self._folder is not None:
            self.stop()

    def _make_folder(self) -> Path:
        self._kept.mkdir(parents=True, exist_ok=True)
        return self._kept

    def _configure(self, options: Mapping[str, str]) -> None:
        path = self.data / "postgresql.conf"
        if "fsync" in options:
            # The first lines of a start: those of the last one go.
            path.write_text(f"{path.read_text().partition(_MARK)[0].rstrip()}\n\n{_MARK}\n")
        super()._configure(options)

    def _last_port(self) -> int | None:
        path = self._kept / "data" / "postgresql.conf"
        text = path.read_text().partition(_MARK)[2] if path.is_file() else ""
        ports = re.findall(r"^port = '(\d+)'$", text, re.MULTILINE)
        return int(ports[-1]) if ports else None


class KeptMariaDBServer(MariaDBServer):
    """A private MariaDB in a folder that stays, with its data and its port.

    ``remove()``, and the end of ``with``, stop the server and leave the folder.

    Args:
        folder: Where the data is, or will be.
        port: By default that of the last time, or a free one.
    """

    def __init__(self, folder: str | Path, *, port: int | None = None) -> None:
        # What is kept survives a crash of the machine as well.
        super().__init__(options={"innodb_flush_log_at_trx_commit": "1"})
        self._kept = Path(folder).absolute()
        self.port = port or self._last_port() or self.port

    def remove(self) -> None:
        """Stop the server; the data stays."""
        self.stop()

    def _make_folder(self) -> Path:
        self._kept.mkdir(parents=True, exist_ok=True)
        return self._kept

    def _start(self) -> None:
        super()._start()
        self._port_file.write_text(str(self.port))

    def _last_port(self) -> int | None:
        return int(self._port_file.read_text()) if self._port_file.is_file() else None

    @property
    def _port_file(self) -> Path:
        return self._kept / "port"
