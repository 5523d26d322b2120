"""The PgBouncer of the tests, in front of the server of the benchmarks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from tests.support import pgbouncer as support

PROGRAM = support.program()
SERVER_CONNECTIONS = 5


@contextmanager
def pgbouncer(server_port: int) -> Iterator[int]:
    """Run PgBouncer on a free port of 127.0.0.1; yield the port.

    Raises:
        FileNotFoundError: the program is not installed (Debian's package ``pgbouncer``).
        TimeoutError: it did not start.
    """
    if PROGRAM is None:
        raise FileNotFoundError("pgbouncer is not installed")
    server = f"postgresql://postgres@127.0.0.1:{server_port}"
    with support.pgbouncer(server, server_connections=SERVER_CONNECTIONS) as url:
        yield urlsplit(url).port or 0
