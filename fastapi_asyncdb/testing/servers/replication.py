"""PostgreSQL servers for tests that follow each other: standbys, promotions, changes of the primary."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastapi_asyncdb.errors import ConfigurationError, DatabaseUnavailable
from fastapi_asyncdb.testing.servers.folder import GRACE, until
from fastapi_asyncdb.testing.servers.process import ServerProcess
from fastapi_asyncdb.testing.servers.synchronous import NO_STREAM, SynchronousServer


class ReplicatedServer(SynchronousServer):
    """A server that has standbys, or is one: which of the two changes by ``promote`` and ``follow``."""

    def __init__(self) -> None:
        super().__init__()
        self._primary: ReplicatedServer | None = None
        """The server that this one follows."""

    @contextmanager
    def replica(self, *, synchronous: bool = False) -> Iterator[PostgresReplica]:
        """Run a streaming standby beside it, which follows it and only reads until it is promoted.

        Args:
            synchronous: Let each commit of this server wait until the standby has stored it too; of
                several such standbys, until all have. While one of them is away, commits wait.
                https://www.postgresql.org/docs/current/warm-standby.html#SYNCHRONOUS-REPLICATION

        Yields:
            The standby, which answers. When the block ends it is stopped and removed, and no commit
            waits for it any more.

        Raises:
            DatabaseUnavailable: this server does not run, or the standby did not start.
        """
        replica = PostgresReplica(self, synchronous=synchronous)
        try:
            replica.start()
            yield replica
        finally:
            replica.remove()

    def promote(self, timeout: float = GRACE) -> None:
        """Make this standby a primary, and wait until it takes writes.

        The server that it followed is left alone: kill or stop it first, or two servers take writes.
        Its other standbys follow this one after their ``follow()``.

        Args:
            timeout: Seconds, of which a part counts as a whole one.

        Raises:
            ConfigurationError: it takes writes already.
            DatabaseUnavailable: it does not run.
            TimeoutError: it takes no writes yet.
        """
        _refuse_unless_running(self)
        if not self._is_standby():
            raise ConfigurationError(
                f"{self!r} takes writes already: it is a primary, or was promoted. Promote one of "
                "its standbys: 'with server.replica() as replica:'."
            )
        if self.psql(f"SELECT pg_promote(wait_seconds => {math.ceil(timeout)})") != "t":
            raise TimeoutError(
                f"{self!r} takes no writes {timeout:g} s after its promotion, most likely because it "
                "has much left to replay. See the file 'log' in its data folder."
            )
        self._primary = None

    def follow(
        self, primary: ReplicatedServer, *, synchronous: bool = False, timeout: float = GRACE
    ) -> None:
        """Follow a server from now on, such as a standby that was promoted, and wait until it streams.

        A standby that runs goes on from where it is. A server that does not run is made anew as a copy
        of that one, on its old port: it may have stored what that one never got.

        Args:
            primary: The server to follow.
            synchronous: Let each commit of ``primary`` wait for this server, as in ``replica()``.
            timeout: Seconds to wait for the stream.

        Raises:
            ConfigurationError: this server runs, and takes writes itself.
            DatabaseUnavailable: the other one does not run, or this one did not start.
            TimeoutError: nothing is streamed.
        """
        _refuse_unless_running(primary)
        if self.is_running():
            self._change_primary(primary)
        else:
            self._leave_primary()
            self._copy(primary)
            self.start()
        until(
            lambda: primary._streams(self),
            timeout,
            f"{self!r} gets nothing from {primary!r}. {NO_STREAM}",
        )
        if synchronous:
            primary._wait_for(self)

    def wait_until_caught_up(self, timeout: float = GRACE) -> None:
        """Wait until the standby has replayed everything that is committed on the primary now.

        Args:
            timeout: Seconds.

        Raises:
            TimeoutError: it is still behind.
            DatabaseUnavailable: one of the two does not run, or this one follows none.
        """
        if self._primary is None:
            raise DatabaseUnavailable(
                f"{self!r} follows no server: it is a primary, or was promoted. Call this on one of its "
                "standbys, or let it follow() a server."
            )
        _refuse_unless_running(self._primary)
        _refuse_unless_running(self)
        written = self._primary.psql("SELECT pg_current_wal_flush_lsn()")
        until(
            lambda: self.psql(f"SELECT pg_last_wal_replay_lsn() >= '{written}'") == "t",
            timeout,
            f"{self!r} is still behind its primary after {timeout:g} s. Replay is paused, waits for a "
            "query of the standby, or lost its connection: see pg_stat_wal_receiver there.",
        )

    def remove(self) -> None:  # noqa: D102 - the base says it
        self._leave_primary()
        super().remove()

    @property
    def _root(self) -> Path:
        """The folder of all servers that follow each other, which the watchdog knows."""
        return self.data.parent

    def _is_standby(self) -> bool:
        return self.psql("SELECT pg_is_in_recovery()") == "t"

    def _streams(self, standby: ReplicatedServer) -> bool:
        # Not asked at the standby, which says so of a connection before anything was streamed.
        state = "SELECT state FROM pg_stat_replication WHERE application_name = '{}'"
        return self.psql(state.format(standby._name)) == "streaming"

    def _change_primary(self, primary: ReplicatedServer) -> None:
        if not self._is_standby():
            raise ConfigurationError(
                f"{self!r} takes writes itself, and a primary follows no other one. stop() or kill() it "
                "first; follow() then makes it anew as a copy."
            )
        self._leave_primary()
        self._primary = primary
        self._configure(self._following(primary))
        self._pg_ctl("reload")

    def _copy(self, primary: ReplicatedServer) -> None:
        """Take a base backup, with a configuration that follows the primary.

        https://www.postgresql.org/docs/current/app-pgbasebackup.html
        """
        wheel = self._wheel = primary.wheel
        self._primary = primary
        self._empty_data_folder()
        source = ("-h", "127.0.0.1", "-p", str(primary.port), "-U", "postgres")
        self._execute("pg_basebackup", *source, "-D", str(self.data), "-c", "fast", "-N")
        # What belongs to the process that was copied, and to those that it was copied from.
        for left in (self.data / "log", *self.data.glob(".s.PGSQL.*")):
            left.unlink(missing_ok=True)
        signal = self.data / "standby.signal"
        signal.touch()
        if wheel.system_user is not None:
            shutil.chown(signal, wheel.system_user)
        # No standby follows this one, neither its own of before nor those of the primary.
        self._awaited = []
        self._configure({**self._following(primary), "synchronous_standby_names": ""})
        self._configure_address()

    def _empty_data_folder(self) -> None:
        """Keep the folder itself: by its inode a start finds the shared memory of a killed server."""
        for path in self.data.iterdir() if self.data.is_dir() else ():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    def _following(self, primary: ReplicatedServer) -> dict[str, str]:
        place = f"host=127.0.0.1 port={primary.port} user=postgres"
        return {"primary_conninfo": f"{place} application_name={self._name}"}


class PostgresReplica(ReplicatedServer):
    """A standby of a ``PostgresServer``; made by its ``replica()``.

    Args:
        primary: The server that it follows at first.
        synchronous: Let the commits of that server wait for this one.
    """

    def __init__(self, primary: ReplicatedServer, *, synchronous: bool = False) -> None:
        super().__init__()
        self._first = primary
        self._synchronous = synchronous

    def start(self) -> None:  # noqa: D102 - the base says it
        if self._folder is not None:
            super().start()
            return
        _refuse_unless_running(self._first)
        self._make_folder()
        self._copy(self._first)
        super().start()
        if self._synchronous:
            self._first._wait_for(self)

    @property
    def _root(self) -> Path:
        return self._first._root

    def _make_folder(self) -> None:
        """Make it in the first server's, where the server's user may go."""
        self._folder = Path(tempfile.mkdtemp(prefix="r", dir=self._root))
        user = self._first.wheel.system_user
        if user is not None:
            shutil.chown(self._folder, user)


def _refuse_unless_running(server: ServerProcess) -> None:
    if not server.is_running():
        raise DatabaseUnavailable(
            f"{server!r} does not run, and replication needs both sides. Call its start() first."
        )
