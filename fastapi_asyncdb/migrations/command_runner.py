"""``CommandRunner``: gives a command of Alembic its configuration, a connection and the lock."""

from __future__ import annotations

import asyncio
import io
import logging
from argparse import Namespace
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from fastapi_asyncdb.concurrency import backoff
from fastapi_asyncdb.migrations.config import MigrationConfig
from fastapi_asyncdb.migrations.engines import Source, configured_source, migration_engines
from fastapi_asyncdb.migrations.environment import AFTER_REVISION, CONNECTION, locked_connection
from fastapi_asyncdb.migrations.failures import can_run_again, explained, is_lock_timeout
from fastapi_asyncdb.migrations.journal import Journal
from fastapi_asyncdb.migrations.progress import AppliedRevision, Progress, Steps

logger = logging.getLogger(__name__)

Command = Callable[[Config], object]

_ATTEMPTS = 5
_FIRST_DELAY, _LONGEST_DELAY = 1.0, 10.0
_alembic = Lock()
_PAUSE = 0.01


class CommandRunner:
    """Run commands of Alembic on one database.

    Args:
        config: The configuration.
        scripts: The revisions.
        source: Where the database is; ``None`` is as the configuration says.
    """

    def __init__(
        self, config: MigrationConfig, scripts: ScriptDirectory, source: Source | None
    ) -> None:
        self._config = config
        self._scripts = scripts
        self._source = source

    async def change(
        self, command: Command, *, progress: Progress | None, wait: float | None
    ) -> list[AppliedRevision]:
        """Run a command that changes the database, with the lock; again after a lock timeout."""
        async with (
            migration_engines(self._from()) as (engines, settings),
            locked_connection(engines, settings, wait=wait) as (connection, lock),
        ):
            journal = await connection.run_sync(Journal)
            steps = Steps(lock, journal, progress)
            for attempt in range(1, _ATTEMPTS + 1):
                try:
                    await self._run(connection, command, steps)
                    break
                except Exception as error:
                    stay = journal.stay(error)
                    may_try_again = is_lock_timeout(error) and can_run_again(error) and not stay
                    if attempt == _ATTEMPTS or not may_try_again:
                        raise explained(error, self._scripts, stay) from error
                    await _pause(attempt, error)
                    await connection.rollback()
                    journal.clear()
        return steps.applied

    async def look(self, command: Command) -> None:
        """Run a command that changes nothing."""
        async with self.connection() as connection:
            try:
                await self._run(connection, command)
            except Exception as error:
                raise explained(error, self._scripts) from error

    def run_offline(self, command: Command, **options: Any) -> None:
        """Run a command that needs no connection.

        Args:
            command: The command.
            **options: For ``alembic.config.Config``.
        """
        try:
            command(self._alembic(**options))
        except Exception as error:
            raise explained(error, self._scripts) from error

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection]:
        """Open a connection for a command that looks."""
        async with migration_engines(self._from()) as (engines, _):
            # On SQLite a reading one does not wait for a process that migrates. Elsewhere neither does a
            # writing one, and what env.py imports may need savepoints. An env.py without run_env() may
            # create Alembic's table.
            separate = engines.preset.separate_readers and self.calls_run_env
            engine = engines.read if separate else engines.write
            async with engine.connect() as connection:
                yield connection

    def _from(self) -> Source:
        return configured_source(self._config) if self._source is None else self._source

    async def _run(
        self, connection: AsyncConnection, command: Command, steps: Steps | None = None
    ) -> None:
        config = self._alembic()
        if steps is not None:
            config.attributes[AFTER_REVISION] = steps

        def with_connection(sync_connection: Connection) -> None:
            config.attributes[CONNECTION] = sync_connection
            command(config)

        async with _alone():
            if self.takes_a_connection:
                await connection.run_sync(with_connection)
            else:
                # An env.py that connects itself, perhaps on an event loop of its own.
                await asyncio.to_thread(command, config)

    @property
    def calls_run_env(self) -> bool:
        """Whether ``env.py`` calls ``run_env()``, which reports each revision."""
        return "run_env(" in self._env

    @property
    def takes_a_connection(self) -> bool:
        """Return whether ``env.py`` uses a connection that is handed in; Alembic's cookbook has how."""
        return self.calls_run_env or "attributes" in self._env

    @cached_property
    def _env(self) -> str:
        return Path(self._scripts.env_py_location).read_text("utf-8", "replace")

    def _alembic(self, **options: Any) -> Config:
        # Alembic prints which files it writes; the caller decides what to show.
        # Functions of an env.py look for autogenerate, as in Alembic's cookbook.
        quiet = Namespace(quiet=True, x=None, autogenerate=True)
        return self._config.to_alembic(stdout=io.StringIO(), cmd_opts=quiet, **options)


@asynccontextmanager
async def _alone() -> AsyncIterator[None]:
    """Let one command of this process run at a time: ``alembic.context`` belongs to the process."""
    while not _alembic.acquire(blocking=False):  # noqa: ASYNC110 - other threads have it too
        await asyncio.sleep(_PAUSE)
    try:
        yield
    finally:
        _alembic.release()


async def _pause(attempt: int, error: BaseException) -> None:
    seconds = backoff(attempt, base=_FIRST_DELAY, cap=_LONGEST_DELAY)
    logger.warning(
        "A revision waited too long for a lock and was rolled back: %s. Attempt %d of %d follows in "
        "%.1f s.",
        getattr(error, "orig", None) or error,
        attempt + 1,
        _ATTEMPTS,
        seconds,
    )
    await asyncio.sleep(seconds)
