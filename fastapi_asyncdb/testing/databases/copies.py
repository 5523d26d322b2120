"""Where databases for tests are made, copied and dropped: on a PostgreSQL server, or in a folder."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, urlencode
from uuid import uuid4

from pydantic import SecretStr
from sqlalchemy import URL

from fastapi_asyncdb.database import Database
from fastapi_asyncdb.dialects import Target, parse_url
from fastapi_asyncdb.dialects.parts import Host, Parts, split
from fastapi_asyncdb.errors import ConfigurationError, UnsupportedDriver
from fastapi_asyncdb.settings import DatabaseSettings

# From this version on the server can be told how to copy.
_HAS_STRATEGY = (15,)
# Seconds that a straggler has to end its transaction.
_BUSY_TIMEOUT = 2.0
# How often to look whether a database has been left, and the seconds between.
_LOOKS = 50
_LOOK_AGAIN = 0.002


class Copies(Protocol):
    """A place for databases. Names come from ``unique_name``, never from outside."""

    async def open(self) -> None:
        """Get ready; each ``open`` asks for one ``close``."""
        ...

    async def close(self) -> None:
        """Leave nothing behind but databases that were not dropped."""
        ...

    async def create(self, name: str, template: str | None = None) -> None:
        """Make an empty database, or a copy."""
        ...

    async def freeze(self, name: str) -> None:
        """Finish a database that is to be copied from now on."""
        ...

    async def drop(self, name: str) -> None:
        """Remove a database, whoever is still connected; do nothing if there is none."""
        ...

    def url(self, name: str) -> SecretStr:
        """Return the URL of a database."""
        ...


def copies_at(url: str | SecretStr) -> Copies:
    """Return the place that a URL names.

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


def with_database(url: SecretStr, name: str) -> SecretStr:
    """Return a server's URL with another database in it, and everything else as it was."""
    scheme, _, rest = url.get_secret_value().strip().partition("://")
    parts = split(rest)
    parts.database = name
    return SecretStr(f"{scheme}://{_joined(parts)}")


def unique_name() -> str:
    """Return a name that no other process, worker or machine makes on the same server."""
    worker = re.sub(r"[^\w-]", "_", os.environ.get("PYTEST_XDIST_WORKER", "main"), flags=re.ASCII)
    return f"asyncdb_test_{worker[:16]}_{os.getpid()}_{uuid4().hex[:12]}"


class PostgreSQLCopies:
    """Databases on one server.

    Args:
        url: A database of the server to connect to meanwhile; it is neither copied nor changed.
        settings: How to connect to it; by default as the environment says, without timeouts.
    """

    def __init__(self, url: SecretStr, settings: DatabaseSettings | None = None) -> None:
        self._url = url
        self._server = Database(
            settings
            or DatabaseSettings(
                url=url, environment="test", statement_timeout=None, lock_timeout=None
            )
        )

    async def open(self) -> None:
        """Connect. Each event loop has a connection of its own."""
        await self._server.start()

    async def close(self) -> None:
        """Disconnect."""
        await self._server.stop()

    async def create(self, name: str, template: str | None = None) -> None:
        """Make an empty database, or a copy, which the server does file by file.

        The other strategy, WAL_LOG, also writes each page to the log.
        https://www.postgresql.org/docs/current/sql-createdatabase.html
        """
        async with self._server:
            source = "" if template is None else self._copied_from(template)
            await self._execute(f"CREATE DATABASE {self._quoted(name)}{source}")

    def _copied_from(self, template: str) -> str:
        version = self._server.engine.dialect.server_version_info or ()
        strategy = " STRATEGY FILE_COPY" if version >= _HAS_STRATEGY else ""
        return f" TEMPLATE {self._quoted(template)}{strategy}"

    async def freeze(self, name: str) -> None:
        """Keep everybody out: a database with a client in it cannot be copied."""
        async with self._server:
            await self._execute(f"ALTER DATABASE {self._quoted(name)} WITH ALLOW_CONNECTIONS false")
            await self._disconnect(name)

    async def drop(self, name: str) -> None:
        """Disconnect whoever is left, and drop it."""
        async with self._server:
            await self._disconnect(name)
            await self._execute(f"DROP DATABASE IF EXISTS {self._quoted(name)} WITH (FORCE)")

    def url(self, name: str) -> SecretStr:
        """Return the server's URL with another database in it, and everything else as it was."""
        return with_database(self._url, name)

    def _quoted(self, name: str) -> str:
        return self._server.engine.dialect.identifier_preparer.quote_identifier(name)

    async def _disconnect(self, name: str) -> None:
        """Wait until nobody is in it. psycopg's close does not, nor does DROP ... WITH (FORCE).

        A server that wants to copy or drop, and finds somebody, looks again after 100 ms only.
        """
        # Not the one that vacuums: it goes by itself, and only a superuser may send it away.
        clients = f"FROM pg_stat_activity WHERE datname = '{name}' AND usesysid IS NOT NULL"
        for _ in range(_LOOKS):
            if not await self._execute(f"SELECT pg_terminate_backend(pid) {clients}"):
                return
            await asyncio.sleep(_LOOK_AGAIN)

    async def _execute(self, sql: str) -> bool:
        """Run it, and tell whether it has found anything."""
        engine = self._server.engine.execution_options(isolation_level="AUTOCOMMIT")
        async with engine.connect() as connection:
            result = await connection.exec_driver_sql(sql)
            return result.returns_rows and result.first() is not None


class SQLiteCopies:
    """Files in a temporary folder, each in a folder of its own.

    Args:
        target: Its parameters are those of every file; its own file, if any, is not touched.
    """

    def __init__(self, target: Target) -> None:
        self._drivername = target.url.drivername
        self._query = {name: str(value) for name, value in target.connect_args.items()}
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    async def open(self) -> None:
        """Make the folder."""
        self._folder = self._folder or tempfile.TemporaryDirectory(prefix="asyncdb_test_")

    async def close(self) -> None:
        """Remove the folder and what is in it."""
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    async def create(self, name: str, template: str | None = None) -> None:
        """Copy the file; an empty database needs none."""
        source = None if template is None else self._file(template)
        await asyncio.to_thread(_copy, source, self._file(name))

    async def freeze(self, name: str) -> None:
        """Move what is in the log into the file, which alone is copied.

        Raises:
            ConfigurationError: somebody still reads or writes it.
        """
        if not await asyncio.to_thread(_checkpoint, self._file(name)):
            raise ConfigurationError(
                "The template database is still in use, so that its log cannot be written back: what "
                "prepared it left a transaction or a query open. End it before prepare returns."
            )

    async def drop(self, name: str) -> None:
        """Remove the file, its log, and the index of that."""
        await asyncio.to_thread(_remove, self._file(name).parent)

    def url(self, name: str) -> SecretStr:
        """Return the URL of a file."""
        url = URL.create(self._drivername, database=str(self._file(name)), query=self._query)
        return SecretStr(DatabaseSettings(url=url).url.get_secret_value())

    def _file(self, name: str) -> Path:
        if self._folder is None:
            raise RuntimeError("The folder is made when it is opened.")
        return Path(self._folder.name) / name / "test.db"


def _copy(source: Path | None, file: Path) -> None:
    file.parent.mkdir()
    if source is not None:
        shutil.copyfile(source, file)


def _remove(folder: Path) -> None:
    # Away first: a thread that still opens a connection would make a new file of that name.
    if folder.exists():
        shutil.rmtree(folder.rename(folder.with_suffix(".dropped")))


def _checkpoint(file: Path) -> bool:
    """https://sqlite.org/pragma.html#pragma_wal_checkpoint."""
    with closing(sqlite3.connect(file, timeout=_BUSY_TIMEOUT)) as connection:
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not busy


def _joined(parts: Parts) -> str:
    """Undo ``split``."""
    user = quote(parts.user or "", safe="")
    if parts.password is not None:
        user += f":{quote(parts.password, safe='')}"
    hosts = ",".join(_host(host) for host in parts.hosts)
    query = f"?{urlencode(parts.query, quote_via=quote)}" if parts.query else ""
    return f"{user}{'@' if user else ''}{hosts}/{quote(parts.database or '', safe='')}{query}"


def _host(host: Host) -> str:
    name, port = host
    shown = f"[{name}]" if ":" in name and not name.startswith("/") else quote(name, safe="")
    return shown if port is None else f"{shown}:{port}"
