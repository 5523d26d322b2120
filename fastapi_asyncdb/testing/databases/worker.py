"""The database of one pytest worker, with its tables and rows, and copies of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from alembic import command
from anyio.from_thread import BlockingPortal, start_blocking_portal
from pydantic import SecretStr

from fastapi_asyncdb.database import Database
from fastapi_asyncdb.engine.runs import Runs
from fastapi_asyncdb.engine.seam import checking_starts, runs_of
from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.settings import DatabaseSettings
from fastapi_asyncdb.testing.databases.filling import create_tables, fill
from fastapi_asyncdb.testing.databases.isolated import DatabaseTemplate
from fastapi_asyncdb.testing.databases.settings import settings_for
from fastapi_asyncdb.testing.databases.temporary import empty_database
from fastapi_asyncdb.testing.migrations.commands import run_alembic
from fastapi_asyncdb.testing.project import Project


@dataclass(frozen=True, slots=True)
class WorkerDatabase:
    """A database with its tables, and the ``Database`` that the tests start on it."""

    database: Database[Any]
    settings: DatabaseSettings

    @contextmanager
    def configured(self) -> Iterator[Database[Any]]:
        """Let each start of the ``Database`` in the block use this database.

        Raises:
            ConfigurationError: it runs already, on another database.
        """
        with self.database.override_settings(self.settings), _refuse_others(self.database):
            yield self.database

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Database[Any]]:
        """Start the ``Database`` on this event loop, with the URL of this database.

        Raises:
            ConfigurationError: it runs already, on another database.
        """
        with self.configured():
            async with self.database:
                yield self.database


@contextmanager
def worker_database(
    project: Project, server_url: SecretStr | None, folder: Path
) -> Iterator[WorkerDatabase]:
    """Make a database with the project's tables and rows.

    Args:
        project: Names the ``Database``, the tables, and the function that fills them.
        server_url: The server to make it on; ``None`` for a file.
        folder: Where to put the file.

    Raises:
        ConfigurationError: a name in the project's configuration is wrong, or its ``seed`` has failed.
    """
    database = project.load_database()
    with empty_database(server_url, folder) as url:
        _prepare(project, database, url)
        yield WorkerDatabase(database, settings_for(url, database))


def _prepare(project: Project, database: Database[Any], url: SecretStr) -> None:
    alembic, metadata, seed = project.load_alembic(), project.load_metadata(), project.load_seed()
    settings = settings_for(url, database)
    if alembic is not None:
        run_alembic(alembic, url, command.upgrade, "head", database=database)
    elif metadata is not None:
        create_tables(settings, metadata)
    if seed is not None:
        name = f"asyncdb_seed = {project.seed!r} in {project.file.name}"
        has_tables = alembic is not None or metadata is not None
        fill(database, settings, seed, name, has_tables=has_tables)


class WorkerCopies:
    """Copies of a database that is prepared as the worker's is, for code that is not asynchronous.

    Args:
        project: As for ``worker_database``.
        portal: Of the event loop that copies.
        template: Prepared.
    """

    def __init__(
        self, project: Project, portal: BlockingPortal, template: DatabaseTemplate
    ) -> None:
        self._database = project.load_database()
        self._portal = portal
        self._template = template

    @contextmanager
    def copy(self) -> Iterator[WorkerDatabase]:
        """Make a copy, and drop it at the end."""
        with self._portal.wrap_async_context_manager(self._template.copy()) as url:
            yield WorkerDatabase(self._database, settings_for(url, self._database))


@contextmanager
def worker_copies(project: Project, server_url: SecretStr | None) -> Iterator[WorkerCopies]:
    """Prepare a template once, and copy it for each test that needs a database of its own.

    Args:
        project: As for ``worker_database``.
        server_url: The server to make them on; ``None`` for files.

    Raises:
        ConfigurationError: as for ``worker_database``.
    """

    async def prepare(database: Database[Any]) -> None:
        url = cast(DatabaseSettings, database.settings).url
        await asyncio.to_thread(_prepare, project, project.load_database(), url)

    template = DatabaseTemplate(server_url or SecretStr("sqlite://"), prepare)
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(template):
        yield WorkerCopies(project, portal, template)


def _refuse_others(database: Database[Any]) -> AbstractContextManager[None]:
    """Refuse to start another ``Database`` on a database that is not for tests."""

    def check(runs: Runs, settings: DatabaseSettings | None) -> None:
        is_of_tests = settings is not None and settings.environment == "test"
        for_tests = runs.configuration.overridden or is_of_tests
        if runs is runs_of(database) or for_tests or runs.current() is not None:
            return
        raise ConfigurationError(
            "A test was about to start a Database with the settings of the application: it is not the "
            "one that asyncdb_database names. Name it there. If it is a further one, start it in a "
            "fixture of your own, before the client and with settings for tests: "
            'other.start(DatabaseSettings(url=..., environment="test")).'
        )

    return checking_starts(check)
