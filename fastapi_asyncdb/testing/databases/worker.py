"""The database of one pytest worker: made, given its tables, run on any event loop, removed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from alembic import command
from pydantic import SecretStr
from sqlalchemy import MetaData

from fastapi_asyncdb.database import BaseDatabase
from fastapi_asyncdb.errors import ConfigurationError, DatabaseNotStarted
from fastapi_asyncdb.settings import DatabaseSettings
from fastapi_asyncdb.testing.databases.copies import PostgreSQLCopies, unique_name
from fastapi_asyncdb.testing.databases.settings import settings_for
from fastapi_asyncdb.testing.migrations.commands import run_alembic
from fastapi_asyncdb.testing.project import Project
from fastapi_asyncdb.testing.threads import run_async


@dataclass(frozen=True, slots=True)
class WorkerDatabase:
    """A database with its tables, and the handle that is to run on it."""

    database: BaseDatabase
    settings: DatabaseSettings

    @asynccontextmanager
    async def running(self) -> AsyncIterator[BaseDatabase]:
        """Start the handle on this event loop, on this database whatever its settings say.

        Raises:
            ConfigurationError: it runs already, on another database.
        """
        with (
            self.database.override_settings(self.settings),
            _no_other_handle(self.database),
        ):
            async with self.database:
                yield self.database


@contextmanager
def worker_database(
    project: Project, server_url: SecretStr | None, folder: Path
) -> Iterator[WorkerDatabase]:
    """Make a database with the project's tables.

    Args:
        project: Names the handle and the tables.
        server_url: The server to make it on; ``None`` for a file.
        folder: Where to put the file.

    Raises:
        ConfigurationError: what the project names is not there.
    """
    database = project.load_database()
    alembic, metadata = project.load_alembic(), project.load_metadata()
    with empty_database(server_url, folder) as url:
        settings = settings_for(url, database)
        if alembic is not None:
            run_alembic(alembic, url, command.upgrade, "head", database=database)
        elif metadata is not None:
            _create_tables(settings, metadata)
        yield WorkerDatabase(database, settings)


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
    server = PostgreSQLCopies(server_url, settings_for(server_url))
    run_async(lambda: server.create(name))
    try:
        yield server.url(name)
    finally:
        run_async(lambda: server.drop(name))


def _create_tables(settings: DatabaseSettings, metadata: MetaData) -> None:
    async def run() -> None:
        database = BaseDatabase(settings)
        await database.start(create_tables=metadata)
        await database.stop()

    run_async(run)


@contextmanager
def _no_other_handle(database: BaseDatabase) -> Iterator[None]:
    """Refuse to start another handle on what is not for tests, which would write to it."""
    start = BaseDatabase.start

    async def guarded(
        self: BaseDatabase, settings: DatabaseSettings | None = None, **options: Any
    ) -> None:
        if self is not database and not (_is_for_tests(self, settings) or _runs_here(self)):
            raise ConfigurationError(
                "A test was about to start a handle on what DATABASE_URL or its own settings say: it is "
                "not the one that asyncdb_database names. Name it there. If it is a further one, start "
                "it in a fixture of your own, before the client and with settings for tests: "
                'other.start(DatabaseSettings(url=..., environment="test")).'
            )
        await start(self, settings, **options)

    with mock.patch.object(BaseDatabase, "start", guarded):
        yield


def _is_for_tests(database: BaseDatabase, settings: DatabaseSettings | None) -> bool:
    """Tell whether somebody has said so; the testing kit overrides only what is."""
    own = settings or database.settings
    return database._override is not None or (own is not None and own.environment == "test")


def _runs_here(database: BaseDatabase) -> bool:
    try:
        database._engines()
    except DatabaseNotStarted:
        return False
    return True
