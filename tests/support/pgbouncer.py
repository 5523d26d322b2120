"""A real PgBouncer in transaction mode, in front of the server of the tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from fastapi_asyncdb.testing.servers.folder import free_port, until

_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"
# https://www.pgbouncer.org/config.html
_SETTINGS = """\
[databases]
* = {server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {server_connections}
max_client_conn = 1000
server_login_retry = 0.1
server_idle_timeout = 2
log_connections = 0
log_disconnections = 0
"""


def program() -> str | None:
    """Return the path of the program; ``None`` if it is not installed."""
    return shutil.which("pgbouncer", path=_PATH)


@contextmanager
def pgbouncer(url: str, *, server_connections: int = 20, settings: str = "") -> Iterator[str]:
    """Run a PgBouncer for as long as the block runs.

    Args:
        url: Of the server.
        server_connections: How many connections to the server its clients share.
        settings: More lines of its section.

    Yields:
        The URL that leads through it.
    """
    path = program()
    if path is None:
        pytest.skip("PgBouncer is not installed: apt-get install pgbouncer")
    parts, port = urlsplit(url), free_port()
    text = _SETTINGS.format(server=_server(url), port=port, server_connections=server_connections)
    folder = Path(tempfile.mkdtemp(prefix="pgbouncer"))
    try:
        (folder / "pgbouncer.ini").write_text(text + settings)
        with _running(path, folder) as log:
            until(lambda: "process up" in log.read_text(), 10, f"PgBouncer: {log.read_text()}")
            yield parts._replace(netloc=f"{parts.username}@127.0.0.1:{port}").geturl()
    finally:
        shutil.rmtree(folder)


def _server(url: str) -> str:
    """Return the place of a server in PgBouncer's words."""
    parts = urlsplit(url)
    given = {
        "host": parts.hostname,
        "port": parts.port or 5432,
        "user": parts.username,
        "password": parts.password,
    }
    return " ".join(f"{name}={value}" for name, value in given.items() if value)


@contextmanager
def _running(path: str, folder: Path) -> Iterator[Path]:
    log = folder / "log"
    # It refuses to run as root.
    user = "nobody" if os.getuid() == 0 else None
    folder.chmod(0o755)
    with (
        log.open("w") as output,
        subprocess.Popen(
            [path, str(folder / "pgbouncer.ini")], user=user, stderr=output, stdout=output
        ) as process,
    ):
        try:
            yield log
        finally:
            process.kill()
