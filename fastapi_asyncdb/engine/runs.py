"""The engines of one ``Database``: one set for each event loop on which it was started."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

from sqlalchemy import Engine, MetaData

from fastapi_asyncdb.credentials import PasswordFunction
from fastapi_asyncdb.dialects import Target, parse_url, preset_for
from fastapi_asyncdb.engine.create import Engines, create_engines
from fastapi_asyncdb.engine.probe import Check
from fastapi_asyncdb.engine.run import Run
from fastapi_asyncdb.engine.startup import (
    create_tables,
    first_connection,
    refuse_tables_in_production,
    refuse_tables_without_connection,
)
from fastapi_asyncdb.errors import (
    ConfigurationError,
    DatabaseNotStarted,
    DatabaseStopping,
    SandboxError,
)
from fastapi_asyncdb.finishing import finish
from fastapi_asyncdb.options import PLAIN, TransactionOptions
from fastapi_asyncdb.settings import DatabaseSettings

start_checks: list[Callable[[Runs, DatabaseSettings | None], None]] = []
"""Called before each start with the settings that it asks for; see ``engine.seam``."""


class Runs:
    """Start and stop the engines of one ``Database``, one set for each event loop.

    Args:
        name: The class of the ``Database``, for messages.
        password: Returns the password for new connections, if the URL has none.
    """

    def __init__(self, name: str, password: PasswordFunction | None = None) -> None:
        self._name = name
        self._password = password
        self._by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, Run] = WeakKeyDictionary()
        self._options: set[TransactionOptions] = set()
        self._override: DatabaseSettings | None = None

    def __repr__(self) -> str:
        started = self.started()
        return f"<{self._name} {f'{started[0].target.url!r} ' if started else 'not '}started>"

    def declare(
        self, options: TransactionOptions, settings: DatabaseSettings | None
    ) -> TransactionOptions:
        """Check options at each start, and now if the settings are known; return them.

        Raises:
            ConfigurationError: the database does not have them.
        """
        if options == PLAIN:
            return PLAIN  # each request compares with it, by identity first
        if not options.autocommit:
            self._options.add(options)
            if settings is not None:
                preset_for(parse_url(settings.url)).check(options)
        return options

    async def start(
        self,
        settings: DatabaseSettings | None,
        *,
        tables: MetaData | None,
        require_connection: bool,
    ) -> None:
        """Build the engines of this event loop, or count one more user; see ``Database.start()``."""
        refuse_tables_without_connection(tables, require_connection=require_connection)
        for check in start_checks:
            check(self, settings)
        run = self._by_loop.setdefault(asyncio.get_running_loop(), Run())
        self._refuse_beside_sandbox(run)
        async with run.lock:
            chosen = run.settings = self._settings_for(run, self._override or settings)
            refuse_tables_in_production(tables, chosen)
            # Settings that override those of the application have credentials of their own.
            password = None if self.overridden else self._password
            engines = run.engines or create_engines(chosen, password)
            for options in self._options:
                engines.preset.check(options)
            try:
                if run.engines is None:
                    await first_connection(engines, chosen, required=require_connection)
                if tables is not None:
                    await create_tables(engines, tables)
            except BaseException:
                if run.engines is None:
                    await finish(engines.dispose())
                raise
            run.begin(engines, chosen)

    def _settings_for(self, run: Run, wanted: DatabaseSettings | None) -> DatabaseSettings:
        if run.engines is None or run.settings is None:
            return wanted or DatabaseSettings.load()
        if wanted is not None and wanted != run.settings:
            raise ConfigurationError(
                f"{self!r} runs already, with other settings. Make a second Database for the "
                "second set of settings, or stop the first."
            )
        return run.settings

    def _refuse_beside_sandbox(self, run: Run) -> None:
        if any(other.replaced for other in self._by_loop.values() if other is not run):
            raise SandboxError(
                f"{self!r}, in a sandbox on another event loop: what is committed on this one would "
                "stay. Most likely Starlette's TestClient runs the application on a loop of its own: "
                "use async_client(app), or httpx's ASGITransport."
            )

    async def stop(self) -> None:
        """Close the engines of this event loop, if this ends the last start; see ``Database.stop()``."""
        run = self._by_loop.get(asyncio.get_running_loop())
        if run is not None:
            caller = asyncio.current_task()
            # A stop that is cancelled waits no longer for sessions.
            await finish(run.end(caller), grace=lambda: 0.0 if run.is_stopping else math.inf)

    def current(self, *, opens: bool = False) -> Engines | None:
        """Return the engines of this event loop; ``None`` if it was not started here.

        Args:
            opens: Whether the caller opens a session, which is refused while the ``Database`` stops.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            started = self.started()
            return started[0] if len(started) == 1 else None
        run = self._by_loop.get(loop)
        if run is None:
            return None
        return run.engines_for_session() if opens and run.is_stopping else run.engines

    def required(self, *, opens: bool = False) -> Engines:
        """Return the engines of this event loop; ``opens`` as for ``current()``.

        Raises:
            DatabaseNotStarted: before start, after stop, or on another event loop.
            DatabaseStopping: while it stops, for a new session.
        """
        engines = self.current(opens=opens)
        if engines is None:
            raise self._refusal()
        return engines

    def bound_engine(self, options: TransactionOptions) -> Engine:
        """Return the engine for a session that was opened before there was one.

        Raises:
            DatabaseNotStarted: there is none yet.
            DatabaseStopping: the database stops.
        """
        return self.required(opens=True).bound(options).sync_engine

    async def ping(self, seconds: float | None, check: Check | None = None) -> float:
        """Wait for an answer of the database on a connection of its own; see ``Database.ping()``.

        Args:
            seconds: How long to wait; ``None`` is ``connect_timeout``.
            check: Called on the connection; returns what is missing, if anything.

        Raises:
            DatabaseNotStarted: it is not started on this event loop.
            DatabaseStopping: it stops.
            DatabaseUnavailable: there is no connection or no answer in time, or the check has failed.
        """
        run = self._by_loop.get(asyncio.get_running_loop())
        if run is None or run.probe is None or run.is_stopping:
            raise self._refusal()
        return await run.probe.run(seconds, check)

    def started(self) -> list[Engines]:
        """Return the engines in use, of every event loop."""
        return [run.engines for run in self._by_loop.values() if run.engines is not None]

    def _refusal(self) -> DatabaseNotStarted:
        if self.current() is None:
            return DatabaseNotStarted(self._why_not_started())
        return DatabaseStopping(
            f"The Database is being stopped and opens no new session: {self!r}. Most likely the process "
            "shuts down. Try again later, or in another process; end the loop of a job."
        )

    def _why_not_started(self) -> str:
        if self.started():
            return (
                f"{self!r}, but on another event loop, and connections cannot move. Start it on "
                "this loop too: 'async with database:'. In tests, run application and test on one "
                "loop."
            )
        return (
            f"{self!r}. Its lifespan did not run: pass FastAPI(lifespan=db_lifespan), or "
            "lifespan=database.lifespan for a Database of your own. httpx's ASGITransport runs no "
            "lifespan: wrap the client in 'async with database:'. Scripts do the same."
        )

    @contextmanager
    def override_settings(self, settings: DatabaseSettings) -> Iterator[None]:
        """Use these settings for each start in the block; see ``Database.override_settings()``."""
        self._refuse_running("Its settings can be overridden only before it starts: stop it first.")
        before, self._override = self._override, settings
        try:
            yield
        finally:
            self._override = before
        self._refuse_running("Its settings were overridden until here: stop it in the same block.")

    def _refuse_running(self, advice: str) -> None:
        if self.started():
            raise ConfigurationError(
                f"{self!r}, by a lifespan or a block that has not ended. {advice}"
            )

    def connection(
        self, settings: DatabaseSettings | None
    ) -> tuple[DatabaseSettings, PasswordFunction | None, Target | None]:
        """Return the settings, the password function and, if it runs, the target: for other engines.

        Args:
            settings: Of the ``Database``, if it has some of its own.
        """
        engines = self.current()
        for run in self._by_loop.values():
            if engines is not None and run.engines is engines and run.settings is not None:
                return run.settings, None, engines.target
        chosen = self._override or settings or DatabaseSettings.load()
        return chosen, None if self.overridden else self._password, None

    @property
    def overridden(self) -> bool:
        """Whether a block of ``override_settings()`` is open."""
        return self._override is not None

    @contextmanager
    def replaced(self, engines: Engines) -> Iterator[None]:
        """Use these engines on this event loop while the block runs; a stop does not close them."""
        run = self._by_loop[asyncio.get_running_loop()]
        run.replaced = [*(run.replaced or [run.engines]), engines]
        run.engines = engines
        try:
            yield
        finally:
            run.replaced.remove(engines)
            run.engines = run.replaced[-1]
            if run.replaced == [run.engines]:
                run.replaced.clear()
