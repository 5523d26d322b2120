"""The process of a PostgreSQL server: start, stop, kill, wait."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Literal

from fastapi_asyncdb.errors import DatabaseUnavailable
from fastapi_asyncdb.testing.servers.folder import GRACE, until
from fastapi_asyncdb.testing.servers.programs import PostgresFolder, is_alive

if TYPE_CHECKING:
    import psutil

StopMode = Literal["smart", "fast", "immediate"]
"""``smart`` waits for clients, ``fast`` disconnects them, ``immediate`` crashes the server."""


class ServerProcess(PostgresFolder):
    """Start, stop and kill a server; a primary and a standby alike."""

    def start(self) -> None:
        """Start the server and wait until it answers; after ``kill()`` it recovers first.

        It blocks, like the other methods: call it with ``asyncio.to_thread`` on an event loop. A server
        that runs already is left alone.

        Raises:
            DatabaseUnavailable: it did not start; the message has the end of its log.
            MissingExtra: the wheel is not installed.
        """
        if not self.is_running():
            try:
                self._pg_ctl("-w", "-t", f"{GRACE:g}", "-l", str(self.data / "log"), "start")
            except subprocess.SubprocessError as error:
                raise self._failed_start() from error
            self._killed = False

    def stop(self, mode: StopMode = "fast", *, timeout: float = GRACE) -> None:
        """Stop the server. One that does not run is left alone.

        Args:
            mode: ``smart`` waits for clients, ``fast`` disconnects them, ``immediate`` crashes.
            timeout: Seconds to wait for the end.

        Raises:
            TimeoutError: it still runs.
        """
        if not self.is_running():
            return
        try:
            self._pg_ctl("-w", "-t", f"{timeout:g}", "-m", mode, "stop")
        except subprocess.SubprocessError as error:
            # A smart stop that came before may have ended just now, and pg_ctl finds nothing to stop.
            if not self.is_running():
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
        """Kill the postmaster and its processes at once, as the kernel does when memory runs out.

        Committed work survives; ``start()`` recovers it.

        Raises:
            TimeoutError: a process is still there.
        """
        postmaster = self._postmaster()
        if postmaster is None:
            return
        # The postmaster first, so that it does not restart the others.
        processes = [postmaster, *postmaster.children(recursive=True)]
        for process in processes:
            _kill(process)
        until(
            lambda: not any(is_alive(process) for process in processes),
            GRACE,
            f"{self!r} was killed and a process is still there, most likely because the disk does "
            "not answer. Wait for it.",
        )
        # In containers without an init process zombies stay, which a start takes for a running server.
        for lock in ("postmaster.pid", f".s.PGSQL.{self.port}.lock"):
            (self.data / lock).unlink(missing_ok=True)
        self._killed = True

    def remove(self) -> None:
        """Stop the server, if it runs, and remove its folder."""
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
            self._remove_folder()


def _kill(process: psutil.Process) -> None:
    import psutil

    try:
        process.kill()
    except psutil.NoSuchProcess:
        return
