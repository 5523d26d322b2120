"""The handle without FastAPI: start, stop, sessions. One set of engines per event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self
from weakref import WeakKeyDictionary

from sqlalchemy import MetaData
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from fastapi_asyncdb.engine import Engines, create_engines
from fastapi_asyncdb.errors import (
    AutoCreateTablesProductionError,
    ConfigurationError,
    DatabaseNotStarted,
    Outcome,
)
from fastapi_asyncdb.in_doubt import outcome_of
from fastapi_asyncdb.session import guarded, session_scope
from fastapi_asyncdb.settings import DatabaseSettings
from fastapi_asyncdb.shield import finish
from fastapi_asyncdb.startup import connect


@dataclass(slots=True)
class _Run:
    """What one event loop has of a handle: connections cannot move to another loop."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0
    settings: DatabaseSettings | None = None
    engines: Engines | None = None


class BaseDatabase:
    """Hold one database: builds its engines at start, hands out sessions, closes all at stop.

    Nothing is read from the environment and nothing is opened before start. It may be started
    several times, by two applications for example: the last stop closes. It may be started again
    after that, and on several event loops, each of which gets connections of its own.

    Args:
        settings: Where the database is; ``None`` reads ``DATABASE_*`` at each start.
        session_class: Your own subclass of ``AsyncSession``, if you have one.
        metadata: The tables to create when ``auto_create_tables`` is asked for.
    """

    def __init__(
        self,
        settings: DatabaseSettings | None = None,
        *,
        session_class: type[AsyncSession] = AsyncSession,
        metadata: MetaData | None = None,
    ) -> None:
        self.settings = settings
        self.metadata = metadata
        self._session_class = guarded(session_class)
        self._runs: WeakKeyDictionary[asyncio.AbstractEventLoop, _Run] = WeakKeyDictionary()

    def __repr__(self) -> str:
        engines = [run.engines for run in self._runs.values() if run.engines is not None]
        if engines:
            return f"<{type(self).__name__} {engines[0].target.url!r} started>"
        return f"<{type(self).__name__} not started>"

    # --- Life -------------------------------------------------------------------------------------

    async def start(
        self,
        settings: DatabaseSettings | None = None,
        *,
        create_tables: MetaData | None = None,
    ) -> None:
        """Build the engines and open the first connection; each start asks for one ``stop()``.

        Args:
            settings: For this run, instead of the handle's own.
            create_tables: Create the tables that are missing. For development: nothing is altered.

        Raises:
            ConfigurationError: a setting is wrong, or the handle runs with other settings already.
            AutoCreateTablesProductionError: tables to create, and ``environment`` is production.
            DatabaseUnavailable: no connection within ``startup_timeout`` seconds.
        """
        run = self._runs.setdefault(asyncio.get_running_loop(), _Run())
        async with run.lock:
            wanted = settings or self.settings
            if run.engines is None or run.settings is None:
                run.settings = wanted or DatabaseSettings.load()
            elif wanted is not None and wanted != run.settings:
                raise ConfigurationError(
                    f"{self!r} runs already, with other settings. Make a second Database for the "
                    "second set of settings, or stop the first."
                )
            _refuse_tables_in_production(run.settings, create_tables)
            engines = run.engines or create_engines(run.settings)
            try:
                if run.engines is None:
                    await connect(engines, run.settings)
                if create_tables is not None:
                    await _create_tables(engines, create_tables)
            except BaseException:
                if run.engines is None:
                    await finish(asyncio.create_task(engines.dispose()))
                raise
            run.engines = engines
            run.users += 1

    async def stop(self) -> None:
        """Close all connections, if this ends the last start on this event loop.

        Calling it once too often does nothing. A session that is still open may end its work; its
        connection is closed when it does.
        """
        run = self._runs.get(asyncio.get_running_loop())
        if run is not None:
            await finish(asyncio.create_task(self._stop(run)))

    async def _stop(self, run: _Run) -> None:
        async with run.lock:
            run.users = max(0, run.users - 1)
            if run.users == 0 and run.engines is not None:
                engines, run.engines = run.engines, None
                await engines.dispose()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.stop()

    @asynccontextmanager
    async def lifespan(self, app: Any = None) -> AsyncIterator[None]:
        """Run the database while the application runs: ``FastAPI(lifespan=database.lifespan)``."""
        async with self:
            yield

    # --- Use --------------------------------------------------------------------------------------

    @property
    def engine(self) -> AsyncEngine:
        """The writing engine.

        Raises:
            DatabaseNotStarted: before start, after stop, or on another event loop.
        """
        return self._engines().write

    @property
    def read_engine(self) -> AsyncEngine:
        """The reading engine: autocommit, refuses writes.

        Raises:
            DatabaseNotStarted: before start, after stop, or on another event loop.
        """
        return self._engines().read

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncSession]:
        """Open a session for a job, a script or a socket message.

        Commits when the block ends, rolls back on any exception, and refuses use afterwards.

        Raises:
            DatabaseNotStarted: before start, after stop, or on another event loop.
        """
        async with session_scope(self._make_session(self.engine)) as session:
            yield session

    @asynccontextmanager
    async def read_session(self) -> AsyncIterator[AsyncSession]:
        """Open a session that reads: one round trip a statement, no transaction, writes refused.

        Raises:
            DatabaseNotStarted: before start, after stop, or on another event loop.
            ReadOnlySession: at the statement that would write, or lock rows.
        """
        async with session_scope(self._make_session(self.read_engine)) as session:
            yield session

    async def transaction_outcome(self, transaction_id: int) -> Outcome:
        """Tell what became of a transaction; ``CommitOutcomeUnknown.resolve`` asks here.

        Args:
            transaction_id: What ``remember_transaction_id`` returned.

        Raises:
            DatabaseNotStarted: before start, after stop, or on another event loop.
        """
        return await outcome_of(self.read_engine, transaction_id)

    def _make_session(self, engine: AsyncEngine) -> AsyncSession:
        # Objects stay readable after the commit: responses and streams still want them, and a
        # refresh would be I/O in the middle of an attribute access.
        return self._session_class(engine, expire_on_commit=False)

    def _engines(self) -> Engines:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            started = [run.engines for run in self._runs.values() if run.engines is not None]
            engines = started[0] if len(started) == 1 else None
        else:
            run = self._runs.get(loop)
            engines = run.engines if run is not None else None
        if engines is None:
            raise DatabaseNotStarted(self._why_not_started())
        return engines

    def _why_not_started(self) -> str:
        if any(run.engines is not None for run in self._runs.values()):
            return (
                f"{self!r}, but on another event loop, and connections cannot move. Start it on "
                "this loop too: 'async with database:'. In tests, run application and test on one "
                "loop."
            )
        return (
            f"{self!r}. Its lifespan did not run: pass FastAPI(lifespan=db_lifespan), or "
            "lifespan=database.lifespan for a handle of your own. httpx's ASGITransport runs no "
            "lifespan: wrap the client in 'async with database:'. Scripts do the same."
        )


def _refuse_tables_in_production(settings: DatabaseSettings, tables: MetaData | None) -> None:
    if tables is not None and settings.environment == "production":
        raise AutoCreateTablesProductionError(
            "auto_create_tables is on and DATABASE_ENVIRONMENT is production. Creating tables from "
            "models never alters one that exists: run your migrations instead, and turn "
            "auto_create_tables off."
        )


async def _create_tables(engines: Engines, metadata: MetaData) -> None:
    async with engines.write.begin() as connection:
        await engines.preset.lock_schema(connection)
        await connection.run_sync(metadata.create_all)
