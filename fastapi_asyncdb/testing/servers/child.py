"""A private server that is a child process of this one."""

from __future__ import annotations

import signal
import socket
import subprocess
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from fastapi_asyncdb.testing.servers.folder import GRACE, ServerFolder, until


class ChildServer(ServerFolder):
    """Start, stop and kill a server whose program runs in the foreground."""

    def __init__(self) -> None:
        super().__init__()
        self._process: subprocess.Popen[bytes] | None = None

    def is_running(self) -> bool:
        """Return whether the server runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the server and wait until it answers; after ``kill()`` it recovers first.

        It blocks, like the other methods: call it with ``asyncio.to_thread`` on an event loop. A server
        that runs already is left alone.

        Raises:
            DatabaseUnavailable: it did not start; the message has the end of its log.
            MissingExtra: its program is not installed; the message names Debian's package.
        """
        if self._folder is not None:
            self._start()
            return
        try:
            self._make()
            self._start_on_a_free_port(self._start)
        except BaseException:
            self.remove()
            raise

    def stop(self, *, timeout: float = GRACE) -> None:
        """Disconnect the clients and stop. A server that does not run is left alone.

        Args:
            timeout: Seconds to wait for the end.

        Raises:
            TimeoutError: it still runs.
        """
        if self._process is None:
            return
        self._send(signal.SIGCONT)  # a process that stands still does not end
        self._send(signal.SIGTERM)
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(
                f"{self!r} did not stop within {timeout:g} s, most likely because a client runs a "
                "statement that does not notice. Wait longer, or kill() it."
            ) from error
        self._process = None

    def restart(self) -> None:
        """Stop and start; the port stays the same.

        Raises:
            DatabaseUnavailable: it did not start again.
            TimeoutError: it did not stop.
        """
        self.stop()
        self.start()

    def kill(self) -> None:
        """Kill the server at once, as the kernel does when memory runs out.

        What it has stored survives; ``start()`` recovers it.
        """
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def remove(self) -> None:
        """Stop the server, if it runs, and remove its folder."""
        self.kill()
        self._remove_folder()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()

    @abstractmethod
    def _make(self) -> None:
        """Make the folder, with all that the first start needs."""

    @abstractmethod
    def _command(self) -> Sequence[str]:
        """Return the command line, which names the folder: the watchdog looks for it there."""

    @property
    @abstractmethod
    def _socket(self) -> Path: ...

    @abstractmethod
    def _greets(self, client: socket.socket) -> bool:
        """Return whether the server answers on a connection to its socket."""

    def _start(self) -> None:
        if self.is_running():
            return
        command = self._command()
        with (self.data / "log").open("ab") as log:
            # In a session of its own, since Ctrl-C goes to all processes of a terminal.
            self._process = subprocess.Popen(  # noqa: S603 - the installed server
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        # For the watchdog: the server writes a file of its own later, or none.
        (self.data / "child.pid").write_text(f"{self._process.pid}\n")
        try:
            until(lambda: self._answers() or not self.is_running(), GRACE, "")
        except TimeoutError:
            self.kill()
        if not self.is_running():
            self._process = None
            raise self._failed_start()

    def _answers(self) -> bool:
        """Return whether the server answers; over the socket, which no other server has."""
        if not self.is_running():
            return False
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(1)
                client.connect(str(self._socket))
                return self._greets(client)
        except OSError:
            return False

    def _send(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
