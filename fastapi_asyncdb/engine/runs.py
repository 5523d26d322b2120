"""The engines of one ``Database``: one set for each event loop on which it was started."""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from weakref import WeakKeyDictionary

import sqlalchemy.ext.asyncio
from sqlalchemy import Engine, MetaData

from fastapi_asyncdb.credentials import PasswordFunction
from fastapi_asyncdb.dialects import Target, parse_url
from fastapi_asyncdb.engine import refusals
from fastapi_asyncdb.engine.client_writes import UNKNOWN, Clients
from fastapi_asyncdb.engine.configuration import Configuration
from fastapi_asyncdb.engine.create import create_engines, create_replicas
from fastapi_asyncdb.engine.engines import Engines
from fastapi_asyncdb.engine.forks import leave_when_forked
from fastapi_asyncdb.engine.late.engines import LateEngines
from fastapi_asyncdb.engine.probe import Check
from fastapi_asyncdb.engine.replica_watch import ReplicaWatch, watch_replicas
from fastapi_asyncdb.engine.run import Run
from fastapi_asyncdb.engine.startup import (
    create_tables,
    first_connection,
    refuse_tables_in_production,
    refuse_tables_without_connection,
)
from fastapi_asyncdb.errors import DatabaseNotStarted
from fastapi_asyncdb.finishing import finish
from fastapi_asyncdb.options import TransactionOptions
from fastapi_asyncdb.settings import DatabaseSettings

start_checks: list[Callable[[Runs, DatabaseSettings | None], None]] = []
"""Called before each start with the settings that it asks for; see ``engine.seam``."""
# The pytest plugin comes before this package: each run of pytest imports it, and it imports nothing.
if (_plugin := sys.modules.get("pytest_asyncdb")) is not None:
    start_checks.append(_plugin.check_start)


class Runs:
    """Start and stop the engines of one ``Database``, one set for each event loop.

    Args:
        name: The class of the ``Database``, for messages.
        password: Returns the password for new connections, if the URL has none.
        settings: Returns those of the ``Database``, if it has some of its own.
    """

    def __init__(
        self,
        name: str,
        password: PasswordFunction | None = None,
        settings: Callable[[], DatabaseSettings | None] = lambda: None,
    ) -> None:
        self._name = name
        self.configuration: Configuration = Configuration(password, settings)
        self._by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, Run] = WeakKeyDictionary()
        self._around: Callable[[], AbstractAsyncContextManager[object]] | None = None
        self._is_forked = False
        self.clients: Clients = Clients()
        leave_when_forked(self)
        self.late: LateEngines = LateEngines(
            self.current,
            self.required,
            lambda: parse_url(self.connection()[0].url).url,
        )

    def __repr__(self) -> str:
        started = self.started()
        return f"<{self._name} {f'{started[0].target.url!r} ' if started else 'not '}started>"

    async def start(
        self,
        settings: DatabaseSettings | None,
        *,
        tables: MetaData | None,
        require_connection: bool,
    ) -> None:
        """Build the engines of this event loop, or count one more user; see ``Database.start()``."""
        refuse_tables_without_connection(tables, require_connection=require_connection)
        for check in reversed(start_checks):  # the innermost block knows most
            check(self, settings)
        run = self._by_loop.setdefault(asyncio.get_running_loop(), Run())
        self._refuse_beside_sandbox(run)
        async with run.lock:
            wanted = self.configuration.wanted(settings)
            chosen = run.settings = self._settings_for(run, wanted)
            refuse_tables_in_production(tables, chosen)
            engines = run.engines or self._create(chosen)
            self.configuration.check(engines.preset)
            try:
                watch = await _connect(
                    engines,
                    chosen,
                    tables,
                    is_new=run.engines is None,
                    is_required=require_connection,
                )
            except BaseException:
                if run.engines is None:
                    await finish(engines.dispose())
                raise
            run.begin(engines, chosen, watch)
            self._is_forked = False
        if self._around is not None:
            await run.enter(self._around)

    def _create(self, settings: DatabaseSettings) -> Engines:
        password = self.configuration.password
        engines = create_engines(settings, password, late=self.late)
        return create_replicas(engines, settings, password, clients=self.clients)

    def _settings_for(self, run: Run, wanted: DatabaseSettings | None) -> DatabaseSettings:
        if run.engines is None or run.settings is None:
            return wanted or DatabaseSettings.load()
        if wanted is not None and wanted != run.settings:
            raise refusals.other_settings(repr(self))
        return run.settings

    def _refuse_beside_sandbox(self, run: Run) -> None:
        if any(other.replaced for other in self._all() if other is not run):
            raise refusals.beside_sandbox(repr(self))

    async def stop(self) -> None:
        """Close the engines of this event loop, if this ends the last start; see ``Database.stop()``."""
        run = self._by_loop.get(asyncio.get_running_loop())
        if run is not None:
            caller = asyncio.current_task()
            # A stop that is cancelled waits no longer for sessions.
            await finish(run.stop(caller), grace=lambda: 0.0 if run.is_stopping else math.inf)

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
        # Not when an engine is looked at: the tracer itself does, while it is being installed.
        if opens and sqlalchemy.ext.asyncio.create_async_engine is not self.late.create:
            self.late.follow_tracer()
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
        if sqlalchemy.ext.asyncio.create_async_engine is not self.late.create:
            self.late.follow_tracer()
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

    def has_replicas(self) -> bool:
        """Return whether replicas may serve the sessions of this event loop."""
        engines = self.current()
        return engines is not None and engines.replicas is not None

    async def written_position(self) -> float:
        """Return a position in the primary's log behind all that is committed now.

        Returns:
            ``UNKNOWN`` if the primary does not say soon, or if there are no replicas any more.
        """
        run = self._by_loop.get(asyncio.get_running_loop())
        return UNKNOWN if run is None or run.watch is None else await run.watch.written()

    def started(self) -> list[Engines]:
        """Return the engines in use, of every event loop."""
        return [run.engines for run in self._all() if run.engines is not None]

    def _all(self) -> list[Run]:
        # keyrefs() is one step, whereas values() fails when another thread starts on its loop meanwhile.
        loops = [reference() for reference in self._by_loop.keyrefs()]
        runs = [self._by_loop.get(loop) for loop in loops if loop is not None]
        return [run for run in runs if run is not None]

    def leave(self) -> object:
        """Return the engines of the process that this one was forked from, and use them no more.

        Those of a sandbox stay: a start beside it is refused in this process as well.
        """
        if not self.started() or any(run.replaced for run in self._all()):
            return None
        left, self._by_loop = list(self._by_loop.items()), WeakKeyDictionary()
        self._is_forked = True
        return left

    def _refusal(self) -> DatabaseNotStarted:
        if self.current() is not None:
            return refusals.stopping(repr(self))
        return refusals.not_started(
            repr(self), elsewhere=bool(self.started()), forked=self._is_forked
        )

    @contextmanager
    def override_settings(self, settings: DatabaseSettings) -> Iterator[None]:
        """Use these settings for each start in the block; see ``Database.override_settings()``."""
        self.refuse_running("Its settings can be overridden only before it starts: stop it first.")
        with self.configuration.override(settings):
            yield
        self.refuse_running("Its settings were overridden until here: stop it in the same block.")

    def refuse_running(self, advice: str) -> None:
        """Refuse other settings while the ``Database`` runs.

        Raises:
            ConfigurationError: it runs, on any event loop.
        """
        if self.started():
            raise refusals.running(repr(self), advice)

    def connection(self) -> tuple[DatabaseSettings, PasswordFunction | None, Target | None]:
        """Return the settings, the password function and, if it runs, the target: for other engines."""
        engines = self.current()
        for run in self._all():
            if engines is not None and run.engines is engines and run.settings is not None:
                return run.settings, None, engines.target
        return self.configuration.now(), self.configuration.password, None

    @contextmanager
    def around_each(
        self, around: Callable[[], AbstractAsyncContextManager[object]]
    ) -> Iterator[None]:
        """Open ``around()`` on each event loop, from after the first start until before the last stop.

        Args:
            around: Has to start the ``Database`` itself.
        """
        before, self._around = self._around, around
        try:
            yield
        finally:
            self._around = before

    @contextmanager
    def replaced(self, engines: Engines) -> Iterator[None]:
        """Use these engines on this event loop while the block runs; a stop does not close them."""
        with self._by_loop[asyncio.get_running_loop()].replacing(engines):
            yield


async def _connect(
    engines: Engines,
    settings: DatabaseSettings,
    tables: MetaData | None,
    *,
    is_new: bool,
    is_required: bool,
) -> ReplicaWatch | None:
    """Connect new engines, create the tables that are missing, and look at the replicas."""
    if is_new:
        await first_connection(engines, settings, required=is_required)
    if tables is not None:
        await create_tables(engines, tables)
    return await watch_replicas(engines, settings) if is_new else None
