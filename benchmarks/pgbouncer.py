"""A PgBouncer in transaction mode in front of a server, where the machine has the program."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
DEADLINE = 10.0
"""Seconds that it gets to start."""
CONFIGURATION = """\
[databases]
* = host=127.0.0.1 port={server} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 5
"""


@contextmanager
def pgbouncer(server_port: int) -> Iterator[int]:
    """Run PgBouncer on a free port of 127.0.0.1; yield the port.

    Raises:
        FileNotFoundError: the program is not installed (Debian's package ``pgbouncer``).
        TimeoutError: it did not start.
    """
    if PROGRAM is None:
        raise FileNotFoundError("pgbouncer is not installed")
    port = _free_port()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "pgbouncer.ini")
        file.write_text(CONFIGURATION.format(server=server_port, port=port))
        # It refuses to run as root, and the other user has to read the file.
        Path(folder).chmod(0o755)
        user = "nobody" if os.geteuid() == 0 else None
        process = subprocess.Popen((PROGRAM, "-q", file), user=user, stderr=subprocess.DEVNULL)
        try:
            _wait_for(port)
            yield port
        finally:
            process.terminate()
            process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + DEADLINE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise TimeoutError("pgbouncer did not start") from None
            time.sleep(0.05)
        else:
            return
