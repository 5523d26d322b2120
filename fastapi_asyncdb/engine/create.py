"""Creates the two engines of a database, one that writes and one that reads, from its settings."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, cast

import sqlalchemy.ext.asyncio
from sqlalchemy import event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import ConnectionPoolEntry

from fastapi_asyncdb.credentials import CredentialsCache, PasswordFunction
from fastapi_asyncdb.dialects import Preset, Target, connect_timeout, parse_url, preset_for
from fastapi_asyncdb.dialects.autocommit import SAVEPOINTS, with_connection_options
from fastapi_asyncdb.dialects.calls import READS, steps_of
from fastapi_asyncdb.dialects.deadlines import Deadlines
from fastapi_asyncdb.engine.connect_errors import refusal_of
from fastapi_asyncdb.engine.driver_errors import explain_errors
from fastapi_asyncdb.engine.failed_transactions import refuse_failed_transactions
from fastapi_asyncdb.engine.in_doubt import watch_commits
from fastapi_asyncdb.engine.read_only import refuse_write
from fastapi_asyncdb.engine.running_sessions import RunningSessions
from fastapi_asyncdb.errors import InsecureConnectionError, MissingExtra
from fastapi_asyncdb.options import PLAIN, TransactionOptions
from fastapi_asyncdb.pool.checkout_warnings import CheckoutWatch
from fastapi_asyncdb.pool.closing import discard_whole, dispose
from fastapi_asyncdb.pool.fair_pool import FairPool
from fastapi_asyncdb.pool.ping import ping_after_idling
from fastapi_asyncdb.pool.server_limit import Refusal
from fastapi_asyncdb.pool.status import PoolStatus, status_of
from fastapi_asyncdb.settings import DatabaseSettings

_ADVICE = (
    "Most likely connections stay checked out during slow work or statements that get no answer, or a "
    "task opens a second session inside its first. The warnings of fastapi_asyncdb.pool name the "
    "request that keeps one for long: call 'await db.commit()' before the slow work. Without such "
    "warnings, raise DATABASE_POOL_SIZE."
)


@dataclass(frozen=True, slots=True)
class Engines:
    """The two engines of one database, and what they were made from."""

    target: Target
    preset: Preset
    write: AsyncEngine
    read: AsyncEngine
    """Runs in autocommit and refuses writes. May share the writing engine's pool."""
    checkouts: CheckoutWatch | None
    """Warns of connections that are checked out for too long; ``None`` without ``hold_warning``."""
    ends_in_place: bool = False
    """Whether the caller's own task may end a transaction: the driver sets no timeout for it."""
    deadlines: Deadlines | None = None
    """Ends connections whose answers are overdue, if there is a ``statement_timeout``."""
    sessions: RunningSessions = field(default_factory=RunningSessions)
    """Those that were opened on the engines, and may still run."""
    _bound: dict[TransactionOptions, AsyncEngine] = field(default_factory=dict)

    def bound(self, options: TransactionOptions) -> AsyncEngine:
        """Return the engine for sessions with these options, made once for each.

        Raises:
            ConfigurationError: the database does not have them.
        """
        if options is PLAIN or options == PLAIN:
            return self.write
        if options.autocommit:
            return self.read
        if options not in self._bound:
            self._bound[options] = self._bind(options)
        return self._bound[options]

    def _bind(self, options: TransactionOptions) -> AsyncEngine:
        self.preset.check(options)
        if options.statement_timeout and self.deadlines is not None:
            self.deadlines.watch(self.write)
        engine = self.preset.bind(options, self.write, self.read)
        if not options.read_only:
            return engine
        return reading_engine(engine)

    def pool_status(self) -> PoolStatus:
        """Return the numbers of the pool, or of both; see ``Database.pool_status()``."""
        return status_of(self.write.pool, self.checkouts, self.read.pool)

    async def dispose(self) -> None:
        """Close every connection: the idle ones now, those in use at checkin.

        Takes a few seconds at most, whatever the network does.
        """
        try:
            await close_engine(self.write, self.preset)
        finally:
            if self.preset.separate_readers:
                await close_engine(self.read, self.preset)


async def close_engine(engine: AsyncEngine, preset: Preset) -> None:
    """Close the connections of one engine: the idle ones now, those in use at checkin."""
    event.listen(engine.sync_engine.pool, "checkin", _close)
    await dispose(engine, preset.discard)


def reading_engine(engine: AsyncEngine) -> AsyncEngine:
    """Return an engine like this one whose transactions refuse to write."""
    return engine.execution_options(**{READS: True, SAVEPOINTS: True})


def _close(connection: DBAPIConnection | None, record: ConnectionPoolEntry) -> None:
    record.invalidate()


def create_engines(
    settings: DatabaseSettings,
    password: PasswordFunction | None = None,
    *,
    target: Target | None = None,
) -> Engines:
    """Build the engines that the settings describe.

    Args:
        settings: Where the database is, and how to connect to it.
        password: Returns the password for a new connection, instead of the URL's.
        target: Of other engines, to share their database in memory, their credentials and so on;
            instead of the URL and the function.

    Raises:
        ConfigurationError: the URL cannot be used, its driver is not installed, production asks for a
            connection to another host whose certificate is not verified, or there are two passwords.
    """
    target = _target(settings, password) if target is None else target
    preset = preset_for(target)
    write = _create(target, preset, settings, read_only=False)
    read = _create(target, preset, settings, read_only=True) if preset.separate_readers else write
    read = _reading(read, preset)
    seconds = settings.hold_warning
    checkouts = CheckoutWatch(seconds, preset.awaits_answer) if seconds else None
    deadlines = Deadlines(
        preset.statement_timeout(target, settings), preset.cut, preset.timeout_words
    )
    if deadlines.seconds:
        deadlines.watch(write)
    return Engines(target, preset, write, read, checkouts, preset.ends_in_place(target), deadlines)


def _target(settings: DatabaseSettings, password: PasswordFunction | None) -> Target:
    target = parse_url(settings.url)
    if password is not None:
        cache = CredentialsCache(password, connect_timeout(target, settings))
        target = replace(target, credentials=cache)
    _refuse_unverified(target, settings)
    return preset_for(target).resolve(target)


def create_probe_engine(engines: Engines, settings: DatabaseSettings) -> AsyncEngine:
    """Build a reading engine with one connection of its own, for health checks.

    Args:
        engines: Where to connect to.
        settings: What the engines were made from.
    """
    own: dict[str, Any] = {"pool_size": 1, "max_overflow": 0, "max_waiting": None}
    # A connection that was lost since the last probe is replaced, and no failure.
    own |= {"pool_pre_ping": True, "pool_ping_idle": 0.0}
    settings = settings.model_copy(update=own)
    engine = _create(engines.target, engines.preset, settings, read_only=True)
    cast(FairPool, engine.sync_engine.pool).leave_outages()
    return _reading(engine, engines.preset)


def _reading(engine: AsyncEngine, preset: Preset) -> AsyncEngine:
    if not preset.separate_readers:
        engine = with_connection_options(engine, isolation_level="AUTOCOMMIT")
    return engine.execution_options(**{READS: True})


def _create(
    target: Target, preset: Preset, settings: DatabaseSettings, *, read_only: bool
) -> AsyncEngine:
    seconds = connect_timeout(target, settings)

    def explain(error: BaseException) -> Refusal:
        return refusal_of(error, target, preset, seconds)

    options = _options(settings) | {"explain": explain}
    options |= preset.engine_options(target, settings, read_only=read_only)
    engine = _create_engine(target, preset, options)
    preset.configure(engine, target, settings, read_only=read_only)
    steps_of(engine.sync_engine.dialect).refuse_write = refuse_write
    discard_whole(engine, preset.discard)
    if not read_only:
        refuse_failed_transactions(engine)
        watch_commits(engine, preset)
    explain_errors(engine, preset, explain, read_only=read_only)
    if settings.pool_pre_ping and preset.needs_ping:
        ping_after_idling(engine, settings.pool_ping_idle, limit=seconds or None)
    return engine


def _options(settings: DatabaseSettings) -> dict[str, Any]:
    """Return the arguments for ``create_async_engine``, before the preset overrides them."""
    return {
        "poolclass": FairPool,
        "pool_size": settings.pool_size,
        "max_overflow": settings.max_overflow,
        "pool_timeout": settings.pool_timeout,
        "max_waiting": settings.max_waiting,
        "overflow_idle": settings.pool_overflow_idle,
        "advice": _ADVICE,
        "pool_recycle": settings.pool_recycle,
        # The connection used last is taken first: it needs no ping, and the others can age out.
        "pool_use_lifo": True,
        "echo": settings.echo,
        "hide_parameters": settings.environment in ("staging", "production"),
    }


def _create_engine(target: Target, preset: Preset, options: dict[str, Any]) -> AsyncEngine:
    try:
        # By its module: OpenTelemetry and others replace the function there, after this import.
        return sqlalchemy.ext.asyncio.create_async_engine(target.url, **options)
    except ImportError as error:
        # psycopg is installed but cannot be imported when it finds no libpq.
        driver = target.url.get_driver_name()
        raise MissingExtra(
            f"The driver {driver} is not installed, or not completely ({error}), and the database URL "
            f"needs {target.url.drivername}. Run: pip install {preset.install_hint(target)}"
        ) from error


def _refuse_unverified(target: Target, settings: DatabaseSettings) -> None:
    if settings.environment == "production" and not (target.is_local or target.tls.verified):
        raise InsecureConnectionError(
            f"The database URL connects to {', '.join(target.hosts)} with sslmode={target.tls.mode}, "
            "which does not verify the server's certificate, and the environment is production. Add "
            "sslmode=verify-full to the URL, and sslrootcert=FILE if its authority is private."
        )
