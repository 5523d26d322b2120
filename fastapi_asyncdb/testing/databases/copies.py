"""The interface of servers and folders in which databases for tests are copied; their names."""

from __future__ import annotations

import os
import re
from typing import Protocol
from uuid import uuid4

from pydantic import SecretStr

from fastapi_asyncdb.dialects import parse_url
from fastapi_asyncdb.errors import UnsupportedDriver
from fastapi_asyncdb.testing.databases.postgresql import PostgreSQLCopies
from fastapi_asyncdb.testing.databases.sqlite import SQLiteCopies


class Copies(Protocol):
    """A server or a folder with databases, whose names come from ``unique_name()``."""

    async def open(self) -> None:
        """Connect, or make the folder; each ``open`` asks for one ``close``."""
        ...

    async def close(self) -> None:
        """Disconnect, or remove the folder."""
        ...

    async def create(self, name: str, template: str | None = None) -> None:
        """Make an empty database, or a copy of ``template``."""
        ...

    async def freeze(self, name: str) -> None:
        """Make a database ready to be copied: no client uses it any more."""
        ...

    async def drop(self, name: str) -> None:
        """Remove a database and disconnect its clients; do nothing if there is none."""
        ...

    def url(self, name: str) -> SecretStr:
        """Return the URL of a database."""
        ...


def copies_at(url: str | SecretStr) -> Copies:
    """Return the copies on the server, or in a folder, that a URL names.

    Raises:
        ConfigurationError: the URL cannot be used.
        UnsupportedDriver: its database cannot be copied.
    """
    secret = url if isinstance(url, SecretStr) else SecretStr(url)
    target = parse_url(secret)
    backend = target.url.get_backend_name()
    if backend == "postgresql":
        return PostgreSQLCopies(secret)
    if backend == "sqlite":
        return SQLiteCopies(target)
    raise UnsupportedDriver(
        f"{backend} has no templates to copy databases from. Use PostgreSQL (postgresql://) or SQLite "
        "(sqlite://)."
    )


def unique_name() -> str:
    """Return a name that is unique among processes, workers and machines on the same server."""
    worker = re.sub(r"[^\w-]", "_", os.environ.get("PYTEST_XDIST_WORKER", "main"), flags=re.ASCII)
    return f"asyncdb_test_{worker[:16]}_{os.getpid()}_{uuid4().hex[:12]}"
