"""Creates the two engines of a database, one that writes and one that reads, from its settings."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any, cast

import sqlalchemy.ext.asyncio
from pydantic import SecretStr
from sqlalchemy.exc import NoSuchModuleError
from sqlalchemy.ext.asyncio import AsyncEngine

from fastapi_asyncdb.credentials import CredentialsCache, PasswordFunction
from fastapi_asyncdb.dialects import Preset, Target, connect_timeout, parse_url, preset_for
from fastapi_asyncdb.dialects.autocommit import with_connection_options
from fastapi_asyncdb.dialects.calls import READS, steps_of
from fastapi_asyncdb.dialects.deadlines import Deadlines
from fastapi_asyncdb.dialects.registration import check_dialect
from fastapi_asyncdb.engine.client_writes import Clients
from fastapi_asyncdb.engine.connect_errors import refusal_of
from fastapi_asyncdb.engine.driver_errors import explain_errors
from fastapi_asyncdb.engine.engines import Engines
from fastapi_asyncdb.engine.failed_transactions import refuse_failed_transactions
from fastapi_asyncdb.engine.in_doubt import watch_commits
from fastapi_asyncdb.engine.late.engines import LateEngines
from fastapi_asyncdb.engine.read_only import refuse_write
from fastapi_asyncdb.engine.replicas import Replica, Replicas
from fastapi_asyncdb.errors import ConfigurationError, InsecureConnectionError, MissingExtra
from fastapi_asyncdb.pool.checkout_warnings import CheckoutWatch
from fastapi_asyncdb.pool.closing import discard_whole
from fastapi_asyncdb.pool.fair_pool import FairPool
from fastapi_asyncdb.pool.ping import ping_after_idling
from fastapi_asyncdb.pool.replica_pool import ReplicaPool
from fastapi_asyncdb.pool.server_limit import Refusal
from fastapi_asyncdb.settings import DatabaseSettings

_ADVICE = (
    "Most likely connections stay checked out during slow work or statements that get no answer, or a "
    "task opens a second session inside its first. The warnings of fastapi_asyncdb.pool name the "
    "request that keeps one for long: call 'await db.commit()' before the slow work. Without such "
    "warnings, raise DATABASE_POOL_SIZE."
)


def create_engines(
    settings: DatabaseSettings,
    password: PasswordFunction | None = None,
    *,
    target: Target | None = None,
    late: LateEngines | None = None,
    is_replica: bool = False,
) -> Engines:
    """Build the engines that the settings describe; of the replicas, ``create_replicas()`` does.

    Args:
        settings: Where the database is, and how to connect to it.
        password: Returns the password for a new connection, instead of the URL's.
        target: Of other engines, to share their database in memory, their credentials and so on;
            instead of the URL and the function.
        late: Whose listeners hear of the engines.
        is_replica: Whether the URL is that of a read replica.

    Raises:
        ConfigurationError: the URL cannot be used, its driver is not installed, production asks for a
            connection to another host whose certificate is not verified, or there are two passwords.
    """
    if target is None:
        target = _target(settings, password, is_replica=is_replica)
    preset = preset_for(target)
    write = read = _create(target, preset, settings, read_only=False, late=late)
    if preset.separate_readers:
        read = _create(target, preset, settings, read_only=True, late=late)
    read = _reading(read, preset)
    if late is not None:
        late.join_reading(read)
    seconds = settings.hold_warning
    checkouts = CheckoutWatch(seconds, preset.awaits_answer) if seconds else None
    deadlines = Deadlines(
        preset.statement_timeout(target, settings), preset.cut, preset.timeout_words
    )
    if deadlines.seconds:
        deadlines.watch(write)
    in_place = preset.ends_in_place(target)
    return Engines(target, preset, write, read, checkouts, in_place, deadlines, late=late)


def create_replicas(
    engines: Engines,
    settings: DatabaseSettings,
    password: PasswordFunction | None = None,
    *,
    clients: Clients,
) -> Engines:
    """Return the engines of the primary with those of its replicas, if the settings name any.

    Args:
        engines: Of the primary.
        settings: What they were made from.
        password: As for ``create_engines()``.
        clients: What the clients of requests have written.

    Raises:
        ConfigurationError: as for ``create_engines()``; or the database has no replicas here.
    """
    if not settings.replica_urls:
        return engines
    if engines.preset.log_positions is None:
        raise ConfigurationError(
            f"replica_urls has URLs, and {engines.target.url.get_backend_name()} has no read replicas "
            "here: PostgreSQL's standbys are served. Leave DATABASE_REPLICA_URLS out; a proxy in front "
            "of the servers may send reads elsewhere."
        )
    clients.watch(engines.write)
    _name_server(engines, "primary")
    replicas = (_create_replica(url, engines, settings, password) for url in settings.replica_urls)
    return replace(engines, replicas=Replicas(replicas, settings.max_replica_lag, clients))


def _create_replica(
    url: SecretStr, engines: Engines, settings: DatabaseSettings, password: PasswordFunction | None
) -> Replica:
    own = settings.model_copy(update={"url": url, "replica_urls": []})
    made = create_engines(own, password, late=engines.late, is_replica=True)
    if made.preset is not engines.preset:
        raise ConfigurationError(
            f"A URL of replica_urls is one of {made.target.url.get_backend_name()}, and the primary is "
            f"one of {engines.target.url.get_backend_name()}. Replicas are copies of the primary: "
            "correct DATABASE_REPLICA_URLS."
        )
    if len(made.target.hosts) > 1:
        # The pool may be connected to one of them, and the watch to another.
        raise ConfigurationError(
            f"A URL of replica_urls has several hosts ({', '.join(made.target.hosts)}). A replica is "
            "one server, since how far it is holds for it alone: give each host a URL of its own in "
            "DATABASE_REPLICA_URLS."
        )
    # One watch for all, so that the longest checkout is that of all.
    replica = Replica(replace(made, checkouts=engines.checkouts))
    replica.pool.leave_outages()
    _name_server(made, "replica")
    return replica


def _name_server(engines: Engines, role: str) -> None:
    pool = cast(FairPool, engines.write.sync_engine.pool)
    pool.name_server(f"{role} {engines.target.address}")


def _target(
    settings: DatabaseSettings, password: PasswordFunction | None, *, is_replica: bool
) -> Target:
    target = replace(parse_url(settings.url), is_replica=is_replica)
    if password is not None:
        cache = CredentialsCache(password, connect_timeout(target, settings))
        target = replace(target, credentials=cache)
    _refuse_unverified(target, settings)
    return preset_for(target).resolve(target)


def create_probe_engine(
    engines: Engines, settings: DatabaseSettings, *, pings: bool = True
) -> AsyncEngine:
    """Build a reading engine with one connection of its own, for health checks.

    Args:
        engines: Where to connect to.
        settings: What the engines were made from.
        pings: Whether a connection that was lost since the last probe is replaced, and no failure.
    """
    own: dict[str, Any] = {"pool_size": 1, "max_overflow": 0, "max_waiting": None}
    own |= {"pool_pre_ping": pings, "pool_ping_idle": 0.0}
    settings = settings.model_copy(update=own)
    engine = _create(engines.target, engines.preset, settings, read_only=True)
    cast(FairPool, engine.sync_engine.pool).leave_outages()
    return _reading(engine, engines.preset)


def _reading(engine: AsyncEngine, preset: Preset) -> AsyncEngine:
    if not preset.separate_readers:
        engine = with_connection_options(engine, isolation_level="AUTOCOMMIT")
    return engine.execution_options(**{READS: True})


def _create(
    target: Target,
    preset: Preset,
    settings: DatabaseSettings,
    *,
    read_only: bool,
    late: LateEngines | None = None,
) -> AsyncEngine:
    seconds = connect_timeout(target, settings)

    def explain(error: BaseException) -> Refusal:
        return refusal_of(error, target, preset, seconds)

    pool = ReplicaPool if target.is_replica else FairPool
    options = {"poolclass": pool, **_options(settings), "explain": explain}
    options |= preset.engine_options(target, settings, read_only=read_only)
    engine = _create_engine(target, preset, options, late)
    preset.configure(engine, target, settings, read_only=read_only)
    steps_of(engine.sync_engine.dialect).refuse_write = refuse_write
    discard_whole(engine, preset.discard)
    if not read_only:
        refuse_failed_transactions(engine, preset)
        watch_commits(engine, preset)
    explain_errors(engine, preset, explain, read_only=read_only)
    if settings.pool_pre_ping and preset.needs_ping:
        ping_after_idling(engine, settings.pool_ping_idle, cut=preset.cut, limit=seconds or None)
    if late is not None:
        late.join(engine)
    return engine


def _options(settings: DatabaseSettings) -> dict[str, Any]:
    """Return the arguments for ``create_async_engine``, before the preset overrides them."""
    return {
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


def _create_engine(
    target: Target, preset: Preset, options: dict[str, Any], late: LateEngines | None
) -> AsyncEngine:
    # By its module: OpenTelemetry and others replace the function there, after this import.
    create = sqlalchemy.ext.asyncio.create_async_engine
    try:
        engine = create(target.url, **options)
        if late is not None:
            late.create = create
            if late.is_traced_like(engine):
                # OpenTelemetry's instrument(engine=...) replaces it, too, and would trace twice.
                engine = inspect.unwrap(create)(target.url, **options)
    except ImportError as error:
        # psycopg is installed but cannot be imported when it finds no libpq.
        driver = target.url.get_driver_name()
        raise MissingExtra(
            f"The driver {driver} is not installed, or not completely ({error}), and the database URL "
            f"needs {target.url.drivername}. Run: pip install {preset.install_hint(target)}"
        ) from error
    except NoSuchModuleError as error:
        raise MissingExtra(
            f"SQLAlchemy has no dialect for {target.url.drivername}://. The package that has it is not "
            f"installed, or it has none for this driver. Run: pip install {preset.install_hint(target)}"
        ) from error
    check_dialect(engine.dialect, target)
    return engine


def _refuse_unverified(target: Target, settings: DatabaseSettings) -> None:
    if settings.environment == "production" and not (target.is_local or target.tls.verified):
        raise InsecureConnectionError(
            f"The database URL connects to {', '.join(target.hosts)} with TLS mode {target.tls.mode}, "
            "which does not verify the server's certificate, and the environment is production. Add "
            f"{preset_for(target).verified_tls} if its authority is private."
        )
