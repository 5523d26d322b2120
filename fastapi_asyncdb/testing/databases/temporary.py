"""Databases that are made for a run of tests, and removed at its end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from pydantic import SecretStr
from sqlalchemy import MetaData
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb.database import Database
from fastapi_asyncdb.testing.databases.copies import copies_at, unique_name
from fastapi_asyncdb.testing.databases.filling import create_tables, fill
from fastapi_asyncdb.testing.databases.settings import settings_for
from fastapi_asyncdb.testing.servers.given import given_server
from fastapi_asyncdb.testing.threads import run_async

S = TypeVar("S", bound=AsyncSession)


@contextmanager
def temporary_database(
    database: Database[S],
    url: str | SecretStr | None = None,
    *,
    metadata: MetaData | None = None,
    seed: Callable[[S], Awaitable[object]] | None = None,
) -> Iterator[Database[S]]:
    """Make a database, and start the application's ``Database`` on it whenever it starts in the block.

    For tests without pytest, whose plugin does the same: around all tests of a module or a run, with a
    sandbox for each. Not a coroutine: each test may have an event loop of its own.

    Args:
        database: It must not run.
        url: The server to make it on; by default that of ``TEST_DATABASE_URL``, or a SQLite file.
        metadata: The tables to create; by default those of the ``Database``.
        seed: An async function that takes a session and adds the rows that all tests start from.

    Yields:
        The ``Database``, which is not started. Migrations may run: ``asyncio.run(database.upgrade())``.

    Raises:
        ConfigurationError: the ``Database`` runs already, ``seed`` has failed, or the URL is wrong.
    """
    server = url or given_server()
    tables = metadata if metadata is not None else database.metadata
    with (
        TemporaryDirectory(prefix="asyncdb_test_") as folder,
        empty_database(_server(server), Path(folder)) as made,
    ):
        settings = settings_for(made, database)
        if tables is not None:
            create_tables(settings, tables)
        if seed is not None:
            fill(database, settings, seed, f"seed={getattr(seed, '__name__', seed)}")
        with database.override_settings(settings):
            yield database


@contextmanager
def empty_database(server_url: SecretStr | None, folder: Path) -> Iterator[SecretStr]:
    """Make an empty database, and remove it at the end.

    Args:
        server_url: The server to make it on; ``None`` for a file.
        folder: Where to put the file; it goes with the folder.

    Yields:
        Its URL.
    """
    name = unique_name()
    if server_url is None:
        yield SecretStr(f"sqlite:///{folder / name}.db")
        return
    server = copies_at(server_url, settings_for(server_url))
    run_async(lambda: server.create(name))
    try:
        yield server.url(name)
    finally:
        run_async(lambda: server.drop(name))


def _server(url: str | SecretStr | None) -> SecretStr | None:
    """Return the URL of a server; ``None`` for a file."""
    secret = SecretStr(url) if isinstance(url, str) else url
    is_file = secret is None or secret.get_secret_value().startswith("sqlite")
    return None if is_file else secret
