"""A primary with two streaming standbys, all on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from benchmarks.run import DATABASE
from fastapi_asyncdb.testing import PostgresReplica, PostgresServer

COUNT = 2


@contextmanager
def standbys(primary: PostgresServer) -> Iterator[list[PostgresReplica]]:
    """Run them beside a server; they have what it has."""
    with ExitStack() as stack:
        replicas = [stack.enter_context(primary.replica()) for _ in range(COUNT)]
        for replica in replicas:
            replica.wait_until_caught_up()
        yield replicas


def url_at(port: int | None) -> str:
    """Return the URL of the database behind a port, for asyncpg."""
    return f"postgresql+asyncpg://postgres@127.0.0.1:{port}/{DATABASE}"
