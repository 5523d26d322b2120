"""The folder of a private server of any kind: its port, its data and its log."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from fastapi_asyncdb.errors import DatabaseUnavailable
from fastapi_asyncdb.testing.servers.watchdog import ServerGuard

GRACE = 30.0
"""Seconds that a start, a stop or a wait may take."""
PORTS_TO_TRY = 3
"""Another process may take the port between the look for a free one and the start."""
_ROOMY = 2 * 1024**3
_INTERVAL = 0.02
"""Seconds between two looks at a condition."""
private_ports: set[int] = set()
"""The ports of this machine on which the tests of this process have servers of their own."""


def free_port() -> int:
    """Return a port of 127.0.0.1 on which no process listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        private_ports.add(port)
        return port


def roomy_memory() -> Path | None:
    """Return a file system in memory: a database is made of 300 files, which disks may be slow to make.

    Containers often have one of 64 MB, which is no more than an empty server takes.
    """
    memory = Path("/dev/shm")  # noqa: S108 - mkdtemp makes a folder there
    if os.environ.get("TMPDIR") or not os.access(memory, os.W_OK):
        return None
    return memory if shutil.disk_usage(memory).free >= _ROOMY else None


def until(condition: Callable[[], object], timeout: float, message: str) -> None:
    """Wait until a condition is true; look at least once.

    Args:
        condition: What to wait for.
        timeout: Seconds.
        message: Of the error.

    Raises:
        TimeoutError: it is still false.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() >= deadline:
            raise TimeoutError(message)
        time.sleep(_INTERVAL)


class ServerFolder(ABC):
    """A folder with the data and the log of a server, and the server's port."""

    _opener: ClassVar[str]
    """The context manager that makes such a server, for messages."""

    def __init__(self) -> None:
        self.port: int = free_port()
        self._folder: Path | None = None
        self._guard: ServerGuard | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} 127.0.0.1:{self.port} {self._state}>"

    @property
    def _state(self) -> str:
        if self._folder is None:
            return "not started"
        return "running" if self.is_running() else "stopped"

    @property
    def data(self) -> Path:
        """The data folder, with the log in it.

        Raises:
            DatabaseUnavailable: the server was not started, or has been removed.
        """
        if self._folder is None:
            raise DatabaseUnavailable(
                f"{self!r} has no folder: it was not started yet, or has been removed. Use it inside "
                f"of 'with {self._opener}() as server:'."
            )
        return self._folder / "data"

    @abstractmethod
    def is_running(self) -> bool:
        """Return whether the server runs."""

    @abstractmethod
    def _answers(self) -> bool: ...

    def wait(self, timeout: float = GRACE) -> None:
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

    def _failed_start(self) -> DatabaseUnavailable:
        return DatabaseUnavailable(
            f"{self!r} did not start. The end of its log: {self._end_of_log()!r}. Correct the "
            "options that it was given, or free what it could not get."
        )

    def _end_of_log(self) -> str:
        log = self.data / "log"
        return "\n".join(log.read_text().splitlines()[-5:]) if log.exists() else ""

    def _start_on_a_free_port(self, start: Callable[[], None]) -> None:
        for left in reversed(range(PORTS_TO_TRY)):
            try:
                start()
                break
            except DatabaseUnavailable:
                if not left or "Address already in use" not in self._end_of_log():
                    raise
                self.port = free_port()

    def _make_temporary_folder(self, prefix: str, parent: str | Path | None) -> Path:
        """Make a folder that is removed when this process is killed.

        Args:
            prefix: Of its name; short, because the path of a Unix socket has about 100 characters.
            parent: Where to make it; ``None`` is where temporary files are.
        """
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        if os.name == "posix":
            self._guard = ServerGuard(folder)
        return folder

    def _remove_folder(self) -> None:
        if self._folder is not None:
            folder, self._folder = self._folder, None
            shutil.rmtree(folder)
        if self._guard is not None:
            self._guard.dismiss()
            self._guard = None
