"""A standby of a PostgreSQL server for tests."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from fastapi_asyncdb.errors import DatabaseUnavailable
from fastapi_asyncdb.testing.servers.folder import GRACE
from fastapi_asyncdb.testing.servers.process import ServerProcess, until


class PostgresReplica(ServerProcess):
    """A standby of a ``PostgresServer``; made by its ``replica()``.

    Args:
        primary: The server that it follows.
    """

    def __init__(self, primary: ServerProcess) -> None:
        super().__init__()
        self._primary = primary

    def start(self) -> None:  # noqa: D102 - the base says it
        if self._folder is None:
            self._copy_primary()
        super().start()

    def wait_until_caught_up(self, timeout: float = GRACE) -> None:
        """Wait until the standby has replayed everything that is committed on the primary now.

        Args:
            timeout: Seconds.

        Raises:
            TimeoutError: it is still behind.
            DatabaseUnavailable: one of the two does not run.
        """
        _refuse_unless_running(self._primary)
        _refuse_unless_running(self)
        written = self._primary.psql("SELECT pg_current_wal_flush_lsn()")
        until(
            lambda: self.psql(f"SELECT pg_last_wal_replay_lsn() >= '{written}'") == "t",
            timeout,
            f"{self!r} is still behind its primary after {timeout:g} s. Replay is paused, waits for a "
            "query of the standby, or lost its connection: see pg_stat_wal_receiver there.",
        )

    def _copy_primary(self) -> None:
        """Take a base backup, with a configuration that follows the primary.

        https://www.postgresql.org/docs/current/app-pgbasebackup.html
        """
        _refuse_unless_running(self._primary)
        wheel = self._wheel = self._primary.wheel
        # In the primary's folder, where the server's user may go.
        self._folder = Path(tempfile.mkdtemp(prefix="r", dir=self._primary.data.parent))
        if wheel.system_user is not None:
            shutil.chown(self._folder, wheel.system_user)
        source = ("-h", "127.0.0.1", "-p", str(self._primary.port), "-U", "postgres")
        self._execute("pg_basebackup", *source, "-D", str(self.data), "-R", "-c", "fast", "-N")
        (self.data / "log").unlink(missing_ok=True)
        self._configure_address()


def _refuse_unless_running(server: ServerProcess) -> None:
    if not server.is_running():
        raise DatabaseUnavailable(
            f"{server!r} does not run, and replication needs both sides. Call its start() first."
        )
