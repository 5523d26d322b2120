"""The interface of servers and folders in which databases for tests are copied; their names."""

from __future__ import annotations

import os
import re
from typing import Protocol
from uuid import uuid4

from pydantic import SecretStr

from fastapi_asyncdb.dialects import parse_url
from fastapi_asyncdb.dialects.registry import family_of
from fastapi_asyncdb.errors import UnsupportedDriver
from fastapi_asyncdb.settings import DatabaseSettings
from fastapi_asyncdb.testing.databases.mysql import MySQLCopies
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


def copies_at(url: str | SecretStr, settings: DatabaseSettings | None = None) -> Copies:
    """Return the copies on the server, or in a folder, that a URL names.

    Args:
        url: A database of the server, or a file.
        settings: How to connect to the server; by default those of the environment, without timeouts.

    Raises:
        ConfigurationError: the URL cannot be used.
        UnsupportedDriver: its database cannot be copied.
    """
    secret = url if isinstance(url, SecretStr) else SecretStr(url)
    target = parse_url(secret)
    backend = target.url.get_backend_name()
    family = family_of(backend)
    if family == "postgresql":
        return PostgreSQLCopies(secret, settings)
    if family == "mysql":
        return MySQLCopies(secret, settings)
    if family == "sqlite":
        return SQLiteCopies(target)
    raise UnsupportedDriver(
        f"Databases of {backend} cannot be copied. Use PostgreSQL (postgresql://), MySQL or MariaDB "
        "(mysql://), or SQLite (sqlite://)."
    )


def unique_name() -> str:
    """Return a name that is unique among processes, workers and machines on the same server."""
    worker = re.sub(r"[^\w-]", "_", os.environ.get("PYTEST_XDIST_WORKER", "main"), flags=re.ASCII)
    return f"asyncdb_test_{worker[:16]}_{os.getpid()}_{uuid4().hex[:12]}"
