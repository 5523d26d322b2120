"""A database of its own for each test, copied from a template.

For tests that need real commits, several connections, or DDL.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any, Self, TypeVar

from pydantic import SecretStr
from sqlalchemy import MetaData

from fastapi_asyncdb.database import Database
from fastapi_asyncdb.errors import ConfigurationError, DatabaseNotStarted
from fastapi_asyncdb.finishing import finish
from fastapi_asyncdb.settings import DatabaseSettings
from fastapi_asyncdb.testing.databases.copies import copies_at, unique_name
from fastapi_asyncdb.testing.databases.settings import on_test_database

logger = logging.getLogger(__name__)

AnyDatabase = TypeVar("AnyDatabase", bound=Database[Any])
Prepare = Callable[[Database], Awaitable[object]]

# Grace period of a start whose test is cancelled, in seconds.
_GRACE = 5.0
# Seconds between two log messages about a preparation that takes long.
_LOG_AFTER = 2.0


class DatabaseTemplate:
    """Prepare a database once; copy it as often as there are tests.

    ``async with`` prepares it, and drops it at the end. Migrations and seed rows run once for each
    process that runs tests. One template serves several event loops.

    Args:
        url: A database of PostgreSQL, MySQL or MariaDB: copies are made on its server, by its user, who
            needs CREATEDB, or ``ALL ON *.*``; the database itself is not changed. Or a SQLite URL, also
            of a database in memory: copies are files in a temporary folder.
        prepare: Awaited with a started ``Database`` on the empty template. For migrations, or for rows.
        metadata: Tables to create before that.

    Raises:
        ConfigurationError: neither ``prepare`` nor ``metadata``; or the URL cannot be used.
    """

    def __init__(
        self,
        url: str | SecretStr,
        prepare: Prepare | None = None,
        *,
        metadata: MetaData | None = None,
    ) -> None:
        if prepare is None and metadata is None:
            raise ConfigurationError(
                "A DatabaseTemplate without prepare and metadata is an empty database. Pass "
                "metadata=Base.metadata, or an async function that prepares the database it is given."
            )
        self._prepare = prepare
        self._metadata = metadata
        self._copies = copies_at(url)
        self._name: str | None = None
        self._stack = AsyncExitStack()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._name or 'not prepared'}>"

    async def __aenter__(self) -> Self:
        if self._name is not None:
            raise ConfigurationError(
                f"{self!r} is prepared already, by a block that has not ended. Use it there, or make "
                "a second DatabaseTemplate."
            )
        async with AsyncExitStack() as stack:
            await self._copies.open()
            stack.push_async_callback(self._copies.close)
            name = await stack.enter_async_context(self._made(unique_name()))
            await self._fill(name)
            self._name = name
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._name = None
        await self._stack.aclose()

    @asynccontextmanager
    async def copy(self) -> AsyncIterator[SecretStr]:
        """Make a copy, and drop it at the end, also if clients are still connected.

        Yields:
            Its URL, for a ``Database`` with settings of its own, or for another process.

        Raises:
            DatabaseNotStarted: the template is not prepared, or has been dropped.
        """
        if self._name is None:
            raise DatabaseNotStarted(
                f"{self!r}, so there is nothing to copy. Prepare it around the tests that use it: "
                "'async with template:', in a fixture of scope 'session' for example."
            )
        async with self._made(unique_name(), self._name) as name:
            yield self._copies.url(name)

    @asynccontextmanager
    async def database(self) -> AsyncIterator[Database]:
        """Make a copy and start a ``Database`` on it; stop it and drop the copy at the end.

        Yields:
            The ``Database``. Further ones may use its ``settings``.

        Raises:
            DatabaseNotStarted: the template is not prepared, or has been dropped.
        """
        async with self.copy() as url, _running(Database(_settings_for(url))) as database:
            yield database

    @asynccontextmanager
    async def _made(self, name: str, template: str | None = None) -> AsyncIterator[str]:
        """Make a database, and drop it. A cancellation waits, so that no database is left behind."""
        try:
            await finish(self._copies.create(name, template))
            yield name
        finally:
            await finish(self._copies.drop(name))

    async def _fill(self, name: str) -> None:
        database = Database(_settings_for(self._copies.url(name)))
        with _progress(name):
            await database.start(create_tables=self._metadata)
            try:
                if self._prepare is not None:
                    await self._prepare(database)
            finally:
                await database.stop()
            await self._copies.freeze(name)


@asynccontextmanager
async def isolated_database(
    database: AnyDatabase,
    template: DatabaseTemplate,
    *,
    settings: DatabaseSettings | None = None,
) -> AsyncIterator[AnyDatabase]:
    """Run a ``Database``, such as the application's ``default_database``, on a fresh copy.

    It is started on the copy. An application's lifespan may start it once more, on the same copy, also
    with settings of its own. At the end it stops, has its own settings again, and the copy is dropped.

    Args:
        database: It must not run.
        template: Prepared already.
        settings: Everything but the URL; by default its own settings, or the environment.

    Yields:
        The ``Database``, started.

    Raises:
        ConfigurationError: it runs already, or is still used when the block has ended.
        DatabaseNotStarted: the template is not prepared, or has been dropped.
    """
    async with template.copy() as url:
        base = settings or database.settings or DatabaseSettings(url=url)
        with database.override_settings(on_test_database(base, url)):
            async with _running(database):
                yield database


@asynccontextmanager
async def _running(database: AnyDatabase) -> AsyncIterator[AnyDatabase]:
    """Start and stop. A start that is cancelled ends before the copy is dropped."""
    try:
        await finish(database.start(), grace=lambda: _GRACE)
        yield database
    finally:
        await database.stop()


def _settings_for(url: SecretStr) -> DatabaseSettings:
    # Not DATABASE_ENVIRONMENT, which may be production, where no tables are created.
    return DatabaseSettings(url=url, environment="test")


@contextmanager
def _progress(name: str) -> Iterator[None]:
    """Log a preparation that takes long, while it runs and at its end."""
    started = time.monotonic()

    async def log() -> None:
        while True:
            await asyncio.sleep(_LOG_AFTER)
            logger.info("Still preparing %s, for %.0f s now.", name, time.monotonic() - started)

    task = asyncio.create_task(log())
    try:
        yield
    finally:
        task.cancel()
        took = time.monotonic() - started
        if took >= _LOG_AFTER:
            logger.info("The preparation of %s took %.1f s.", name, took)
