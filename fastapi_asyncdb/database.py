"""The handle without FastAPI: start, stop, sessions. One set of engines per event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial, wraps
from inspect import Signature, signature
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, TypeVarTuple, Unpack
from weakref import WeakKeyDictionary

from sqlalchemy import MetaData
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from fastapi_asyncdb.dialects import Preset, parse_url, preset_for
from fastapi_asyncdb.engine.create import Engines, create_engines
from fastapi_asyncdb.engine.in_doubt import outcome_of
from fastapi_asyncdb.engine.startup import connect, connect_if_possible
from fastapi_asyncdb.errors import (
    AutoCreateTablesProductionError,
    ConfigurationError,
    DatabaseNotStarted,
    Outcome,
    SandboxError,
)
from fastapi_asyncdb.finishing import finish
from fastapi_asyncdb.options import (
    PLAIN,
    SessionOptions,
    TransactionOptions,
    transaction_options,
)
from fastapi_asyncdb.session.managed import ManagedSession, managed, open_managed
from fastapi_asyncdb.session.on_begin import OnBegin, first_step
from fastapi_asyncdb.session.open_sessions import refuse_inside_transaction, remember
from fastapi_asyncdb.session.retry import Attempts
from fastapi_asyncdb.session.scopes import SessionScope
from fastapi_asyncdb.settings import DatabaseSettings

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
P = ParamSpec("P")


@dataclass(slots=True)
class _Run:
    """What one event loop has of a handle: connections cannot move to another loop."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0
    settings: DatabaseSettings | None = None
    engines: Engines | None = None
    lent: list[Engines | None] = field(default_factory=list)
    """While the testing kit lends engines: the run's own, and those that are lent, the last in use."""


class BaseDatabase:
    """Hold one database: builds its engines at start, hands out sessions, closes all at stop.

    Nothing is read from the environment and nothing is opened before start. It may be started
    several times, by two applications for example: the last stop closes. It may be started again
    after that, and on several event loops, each of which gets connections of its own.

    Args:
        settings: Where the database is; ``None`` reads ``DATABASE_*`` at each start.
        session_class: Your own subclass of ``AsyncSession``, if you have one.
        metadata: The tables to create when ``auto_create_tables`` is asked for.
        on_begin: Awaited as the first thing of each transaction that writes or is a snapshot, with
            a session on its connection and, inside a request, the ``HTTPConnection``; ``None``
            outside. For settings that end with the transaction, such as the tenant that row-level
            security asks for. If it raises, nothing else runs and the transaction is rolled back.
            https://www.postgresql.org/docs/current/ddl-rowsecurity.html
    """

    def __init__(
        self,
        settings: DatabaseSettings | None = None,
        *,
        session_class: type[AsyncSession] = AsyncSession,
        metadata: MetaData | None = None,
        on_begin: OnBegin | None = None,
    ) -> None:
        self.settings = settings
        self.metadata = metadata
        self._on_begin = on_begin
        self._override: DatabaseSettings | None = None
        self._defined: set[TransactionOptions] = set()
        self._plain_session_class = session_class
        self._session_class = managed(session_class)
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
        require_connection: bool = True,
    ) -> None:
        """Build the engines and open the first connection; each start asks for one ``stop()``.

        Args:
            settings: For this run, instead of the handle's own.
            create_tables: Create the tables that are missing. For development: nothing is altered.
            require_connection: ``False`` tries once and goes on without: the cause is logged, requests
                that need a connection are answered with 503, and the first one that can be made serves
                them. So it is also for causes that waiting does not cure, such as a wrong password.

        Raises:
            ConfigurationError: a setting is wrong, the handle runs with other settings already, or
                tables are to be created without a connection.
            AutoCreateTablesProductionError: tables to create, and ``environment`` is production.
            DatabaseUnavailable: no connection within ``startup_timeout`` seconds.
            SandboxError: a test on another event loop has it in a sandbox.
        """
        refuse_tables_without_connection(create_tables, require_connection=require_connection)
        run = self._runs.setdefault(asyncio.get_running_loop(), _Run())
        self._refuse_beside_sandbox(run)
        async with run.lock:
            wanted = self._override or settings or self.settings
            if run.engines is None or run.settings is None:
                run.settings = wanted or DatabaseSettings.load()
            elif wanted is not None and wanted != run.settings:
                raise ConfigurationError(
                    f"{self!r} runs already, with other settings. Make a second Database for the "
                    "second set of settings, or stop the first."
                )
            _refuse_tables_in_production(run.settings, create_tables)
            engines = run.engines or create_engines(run.settings)
            _check_all(engines.preset, self._defined)
            try:
                if run.engines is None:
                    await (connect if require_connection else connect_if_possible)(
                        engines, run.settings
                    )
                if create_tables is not None:
                    await _create_tables(engines, create_tables)
            except BaseException:
                if run.engines is None:
                    await finish(engines.dispose())
                raise
            run.engines = engines
            run.users += 1

    def _refuse_beside_sandbox(self, run: _Run) -> None:
        if any(other.lent for other in self._runs.values() if other is not run):
            raise SandboxError(
                f"{self!r}, in a sandbox on another event loop: what is committed on this one would "
                "stay. Most likely Starlette's TestClient runs the application on a loop of its own: "
                "use async_client(app), or httpx's ASGITransport."
            )

    @contextmanager
    def override_settings(self, settings: DatabaseSettings) -> Iterator[None]:
        """Let each start in the block use these settings, whatever it or the handle says: for tests.

        An application may pass settings to its lifespan, which starts the handle like any other.

        Args:
            settings: For every start in the block.

        Raises:
            ConfigurationError: the handle runs already when the block begins, or still when it has
                ended well.
        """
        self._refuse_running("Its settings can be overridden only before it starts: stop it first.")
        before, self._override = self._override, settings
        try:
            yield
        finally:
            self._override = before
        self._refuse_running("Its settings were overridden until here: stop it in the same block.")

    def _refuse_running(self, advice: str) -> None:
        if any(run.engines is not None for run in self._runs.values()):
            raise ConfigurationError(
                f"{self!r}, by a lifespan or a block that has not ended. {advice}"
            )

    async def stop(self) -> None:
        """Close all connections, if this ends the last start on this event loop.

        Calling it once too often does nothing. A session that is still open may end its work; its
        connection is closed when it does.
        """
        run = self._runs.get(asyncio.get_running_loop())
        if run is not None:
            await finish(self._stop(run))

    async def _stop(self, run: _Run) -> None:
        async with run.lock:
            run.users = max(0, run.users - 1)
            if run.users == 0 and run.engines is not None and not run.lent:
                engines, run.engines = run.engines, None
                await engines.dispose()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.stop()

    @asynccontextmanager
    async def lifespan(
        self, app: Any = None, *, require_connection: bool = True
    ) -> AsyncIterator[None]:
        """Run the database while the application runs: ``FastAPI(lifespan=database.lifespan)``.

        Args:
            app: The application, which FastAPI passes.
            require_connection: As in ``start()``.
        """
        await self.start(require_connection=require_connection)
        try:
            yield
        finally:
            await self.stop()

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

    def session(
        self, **options: Unpack[SessionOptions]
    ) -> AbstractAsyncContextManager[AsyncSession]:
        """Open a session for a job, a script or a socket message.

        Commits when the block ends, rolls back on any exception, and refuses use afterwards. The
        options hold for each of its transactions, and for no other's.

        Args:
            **options: ``isolation_level``, ``read_only``, ``statement_timeout``, ``lock_timeout``,
                ``deferrable``: see ``SessionOptions``.

        Raises:
            ConfigurationError: the options cannot mean anything, or not on this database.
            DatabaseNotStarted: before start, after stop, or on another event loop.
            TypeError: there is no such option.
        """
        return self._open(transaction_options(options))

    def read_session(self) -> AbstractAsyncContextManager[AsyncSession]:
        """Open a session that reads: one round trip a statement, no transaction, writes refused.

        Raises:
            ConfigurationError: the handle has an ``on_begin``, for which there is no transaction.
            DatabaseNotStarted: before start, after stop, or on another event loop.
            ReadOnlySession: at the statement that would write, or lock rows.
        """
        return self._open(TransactionOptions(read_only=True))

    async def run_in_transaction(
        self,
        work: Callable[[AsyncSession, *Ts], Awaitable[T]],
        *args: *Ts,
        attempts: int = 5,
        deadline: float | None = 30.0,
        **options: Unpack[SessionOptions],
    ) -> T:
        """Run ``await work(session, *args)`` in its own transaction, again if it meets a conflict.

        A serialization failure, a deadlock, or SQLite being busy rolls the transaction back; the work
        then runs again from the start, in a new session, after a pause that grows and is random. So
        the work must be repeatable: what it does outside the database belongs into ``on_commit``.
        Every other error ends it at once, and so does a connection that was lost: COMMIT may have been
        done.

        Args:
            work: A coroutine function whose first argument is the session.
            *args: Passed to ``work``.
            attempts: How often to run it altogether.
            deadline: Seconds after which no further attempt starts; ``None`` is no limit. An attempt
                that runs is not cut short.
            **options: As for ``session()``.

        Returns:
            What the attempt that was committed returned.

        Raises:
            ConfigurationError: ``attempts`` is below 1, ``deadline`` below 0, or the options cannot mean
                anything.
            DatabaseNotStarted: before start, after stop, or on another event loop.
            TransactionInProgress: a session of this handle around the call is in a transaction.
            Exception: the last attempt's own, with a note of how many there were.
        """
        tries = Attempts(attempts, deadline)
        chosen = transaction_options(options)
        refuse_inside_transaction(self)
        while True:
            try:
                async with self._open(chosen, repeated=True) as session:
                    return await work(session, *args)
            except Exception as error:
                delay = tries.delay_after(error)
                if delay is None:
                    raise
            await asyncio.sleep(delay)

    def transactional(
        self,
        *,
        attempts: int = 5,
        deadline: float | None = 30.0,
        **options: Unpack[SessionOptions],
    ) -> Callable[
        [Callable[Concatenate[AsyncSession, P], Awaitable[T]]], Callable[P, Coroutine[Any, Any, T]]
    ]:
        """Make a function run in its own transaction: the decorator of ``run_in_transaction``.

        The function takes the session as its first argument; its callers leave that out.

        Args:
            attempts: How often to run it altogether.
            deadline: Seconds after which no further attempt starts; ``None`` is no limit.
            **options: As for ``session()``.

        Raises:
            ConfigurationError: ``attempts`` is below 1, ``deadline`` below 0, or the options cannot mean
                anything, or not on this database. If the handle has no settings of its own, the start
                raises the last of these.
            TypeError: there is no such option.
        """
        Attempts(attempts, deadline)
        self._define(transaction_options(options))

        def decorate(
            work: Callable[Concatenate[AsyncSession, P], Awaitable[T]],
        ) -> Callable[P, Coroutine[Any, Any, T]]:
            @wraps(work)
            async def run(*args: P.args, **kwargs: P.kwargs) -> T:
                async def attempt(session: AsyncSession) -> T:
                    return await work(session, *args, **kwargs)

                return await self.run_in_transaction(
                    attempt, attempts=attempts, deadline=deadline, **options
                )

            run.__signature__ = _without_session(work)  # type: ignore[attr-defined]
            return run

        return decorate

    async def transaction_outcome(self, transaction_id: int) -> Outcome:
        """Tell what became of a transaction; ``CommitOutcomeUnknown.resolve`` asks here.

        Args:
            transaction_id: What ``remember_transaction_id`` returned.

        Raises:
            DatabaseNotStarted: before start, after stop, or on another event loop.
        """
        return await outcome_of(self.read_engine, transaction_id)

    def _open(
        self, options: TransactionOptions, connection: object = None, *, repeated: bool = False
    ) -> AbstractAsyncContextManager[AsyncSession]:
        return SessionScope(partial(self._make, options, connection), repeated=repeated)

    def _make(self, options: TransactionOptions, connection: object) -> ManagedSession:
        self._check(options)
        # A job fails where it opens its session; a request, which may need none, at the first use.
        engines = self._engines() if connection is None else self._started()
        if engines is None:
            session = self._make_on(
                None, connection, late_bind=lambda: self._engines().bound(options).sync_engine
            )
        else:
            session = self._make_on(
                engines.bound(options),
                connection,
                in_place=engines.ends_in_place or options.autocommit,
                watch=engines.checkouts,
            )
        if not options.autocommit:
            remember(self, session)
        return session

    def _make_on(
        self, engine: AsyncEngine | None, connection: object = None, **state: Any
    ) -> ManagedSession:
        step = None
        if self._on_begin is not None:
            step = first_step(self._on_begin, self._plain_session_class, connection)
        return open_managed(
            self._session_class, engine, request=connection, first_step=step, **state
        )

    @contextmanager
    def _replaced(self, engines: Engines) -> Iterator[None]:
        """Use other engines on this event loop for the time being; for the testing kit."""
        run = self._runs[asyncio.get_running_loop()]
        run.lent = [*(run.lent or [run.engines]), engines]
        run.engines = engines
        try:
            yield
        finally:
            run.lent.remove(engines)
            run.engines = run.lent[-1]
            if run.lent == [run.engines]:
                run.lent.clear()

    def _define(self, options: TransactionOptions) -> TransactionOptions:
        """Check what can be known now; the rest is checked at start."""
        self._check(options)
        if options == PLAIN:
            return PLAIN  # known at a glance, in each request
        if not options.autocommit:
            self._defined.add(options)
            if self.settings is not None:
                preset_for(parse_url(self.settings.url)).check(options)
        return options

    def _check(self, options: TransactionOptions) -> None:
        if self._on_begin is not None and options.autocommit:
            raise ConfigurationError(
                "This handle has an on_begin, and autocommit reads have no transaction that it could "
                "begin. Use database.get_snapshot_db instead of get_read_db, or add "
                'isolation_level="REPEATABLE READ" to read_only=True.'
            )

    def _engines(self) -> Engines:
        engines = self._started()
        if engines is None:
            raise DatabaseNotStarted(self._why_not_started())
        return engines

    def _started(self) -> Engines | None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            started = [run.engines for run in self._runs.values() if run.engines is not None]
            return started[0] if len(started) == 1 else None
        run = self._runs.get(loop)
        return run.engines if run is not None else None

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


def _check_all(preset: Preset, defined: Iterable[TransactionOptions]) -> None:
    for options in defined:
        preset.check(options)


def _without_session(work: Callable[..., Any]) -> Signature:
    whole = signature(work)
    return whole.replace(parameters=list(whole.parameters.values())[1:])


def refuse_tables_without_connection(tables: MetaData | None, *, require_connection: bool) -> None:
    """Refuse to leave it open whether the tables are there.

    Raises:
        ConfigurationError: there are tables to create, and no connection is required.
    """
    if tables is not None and not require_connection:
        raise ConfigurationError(
            "auto_create_tables needs a connection at start, and require_connection=False starts "
            "without one. Leave one of the two out; migrations create tables before the start."
        )


def _refuse_tables_in_production(settings: DatabaseSettings, tables: MetaData | None) -> None:
    if tables is not None and settings.environment == "production":
        raise AutoCreateTablesProductionError(
            "auto_create_tables is on and the environment is production. Creating tables from "
            "models never alters one that exists: run your migrations instead, and turn "
            "auto_create_tables off."
        )


async def _create_tables(engines: Engines, metadata: MetaData) -> None:
    async with engines.write.begin() as connection:
        await engines.preset.lock_schema(connection)
        await connection.run_sync(metadata.create_all)
