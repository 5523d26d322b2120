"""The database of one pytest worker, with its tables."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alembic import command
from pydantic import SecretStr
from sqlalchemy import MetaData

from fastapi_asyncdb.database import Database
from fastapi_asyncdb.engine.runs import Runs
from fastapi_asyncdb.engine.seam import checking_starts, runs_of
from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.settings import DatabaseSettings
from fastapi_asyncdb.testing.databases.copies import unique_name
from fastapi_asyncdb.testing.databases.postgresql import PostgreSQLCopies
from fastapi_asyncdb.testing.databases.settings import settings_for
from fastapi_asyncdb.testing.migrations.commands import run_alembic
from fastapi_asyncdb.testing.project import Project
from fastapi_asyncdb.testing.threads import run_async


@dataclass(frozen=True, slots=True)
class WorkerDatabase:
    """A database with its tables, and the ``Database`` that the tests start on it."""

    database: Database[Any]
    settings: DatabaseSettings

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Database[Any]]:
        """Start the ``Database`` on this event loop, with the URL of this database.

        Raises:
            ConfigurationError: it runs already, on another database.
        """
        with (
            self.database.override_settings(self.settings),
            _refuse_others(self.database),
        ):
            async with self.database:
                yield self.database


@contextmanager
def worker_database(
    project: Project, server_url: SecretStr | None, folder: Path
) -> Iterator[WorkerDatabase]:
    """Make a database with the project's tables.

    Args:
        project: Names the ``Database`` and the tables.
        server_url: The server to make it on; ``None`` for a file.
        folder: Where to put the file.

    Raises:
        ConfigurationError: a name in the project's configuration is wrong.
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
        database = Database(settings)
        await database.start(create_tables=metadata)
        await database.stop()

    run_async(run)


def _refuse_others(database: Database[Any]) -> AbstractContextManager[None]:
    """Refuse to start another ``Database`` on a database that is not for tests."""

    def check(runs: Runs, settings: DatabaseSettings | None) -> None:
        for_tests = runs.overridden or (settings is not None and settings.environment == "test")
        if runs is runs_of(database) or for_tests or runs.current() is not None:
            return
        raise ConfigurationError(
            "A test was about to start a Database with the settings of the application: it is not the "
            "one that asyncdb_database names. Name it there. If it is a further one, start it in a "
            "fixture of your own, before the client and with settings for tests: "
            'other.start(DatabaseSettings(url=..., environment="test")).'
        )

    return checking_starts(check)
