"""The start of new engines: the first connection, and the tables that are missing."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from anyio import CancelScope
from sqlalchemy import MetaData, event
from sqlalchemy.engine.interfaces import DBAPIConnection, Dialect
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.pool import ConnectionPoolEntry

from fastapi_asyncdb.concurrency import backoff, greenlet_spawn
from fastapi_asyncdb.dialects import connect_timeout
from fastapi_asyncdb.engine.connect_errors import Failure, failure_of
from fastapi_asyncdb.engine.engines import Engines
from fastapi_asyncdb.errors import (
    AutoCreateTablesProductionError,
    ConfigurationError,
    DatabaseUnavailable,
)
from fastapi_asyncdb.pool.fair_pool import FairPool
from fastapi_asyncdb.settings import DatabaseSettings
from fastapi_asyncdb.tracebacks import forget_locals

logger = logging.getLogger(__name__)

_FIRST_DELAY = 0.1
_LONGEST_DELAY = 5.0


def refuse_tables_without_connection(tables: MetaData | None, *, require_connection: bool) -> None:
    """Refuse a start that may have no connection to create its tables.

    Raises:
        ConfigurationError: there are tables to create, and no connection is required.
    """
    if tables is not None and not require_connection:
        raise ConfigurationError(
            "auto_create_tables needs a connection at start, and require_connection=False starts "
            "without one. Leave one of the two out; migrations create tables before the start."
        )


def refuse_tables_in_production(tables: MetaData | None, settings: DatabaseSettings) -> None:
    """Refuse to create tables from models in production.

    Raises:
        AutoCreateTablesProductionError: there are tables to create.
    """
    if tables is not None and settings.environment == "production":
        raise AutoCreateTablesProductionError(
            "auto_create_tables is on and the environment is production. Creating tables from "
            "models never alters one that exists: run your migrations instead, and turn "
            "auto_create_tables off."
        )


async def create_tables(engines: Engines, tables: MetaData) -> None:
    """Create the tables that are missing, in one transaction; a second process waits for the first."""
    async with engines.write.begin() as connection:
        await engines.preset.lock_schema(connection)
        await connection.run_sync(tables.create_all)


async def first_connection(engines: Engines, settings: DatabaseSettings, *, required: bool) -> None:
    """Open the first connection, and leave it in the pool.

    Args:
        engines: The engines, which have no connection yet.
        settings: What they were made from.
        required: ``False`` tries once; if that fails, the cause is logged.

    Raises:
        DatabaseUnavailable: no connection, and one is required.
    """
    if required:
        await _connect(engines, settings)
    else:
        await _connect_if_possible(engines, settings)


async def _connect(engines: Engines, settings: DatabaseSettings) -> None:
    """Try until there is a connection, or until ``startup_timeout`` is over.

    Raises:
        DatabaseUnavailable: a cause that waiting cannot cure, at once; any other after
            ``startup_timeout``. Its chain is cut: drivers keep the password in their frames, and
            some loggers print local variables.
    """
    started = time.monotonic()
    attempts = 0
    while True:
        attempts += 1
        failure = await attempt(engines, settings, engines.write)
        if failure is None:
            return
        waited = time.monotonic() - started
        left = settings.startup_timeout - waited
        if failure.diagnosis.permanent or left <= 0:
            break
        if attempts == 1:
            logger.warning(
                "Cannot connect to %r yet: %s Trying for another %.0f s.",
                engines.target.url,
                failure,
                left,
            )
        await asyncio.sleep(min(backoff(attempts, base=_FIRST_DELAY, cap=_LONGEST_DELAY), left))
    tries = (
        f"after {attempts} attempts in {waited:.1f} s" if attempts > 1 else "at the first attempt"
    )
    raise DatabaseUnavailable(f"Cannot connect to {engines.target.url!r} {tries}: {failure}")


async def _connect_if_possible(engines: Engines, settings: DatabaseSettings) -> None:
    """Try once to open the first connection; log the cause if there is none."""
    failure = await attempt(engines, settings, engines.write)
    if failure is not None:
        logger.log(
            logging.ERROR if failure.diagnosis.permanent else logging.WARNING,
            "Started without a connection to %r: %s Requests that need one are answered with 503 until "
            "it can be made; no restart is needed.",
            engines.target.url,
            failure,
        )


async def attempt(
    engines: Engines,
    settings: DatabaseSettings,
    engine: AsyncEngine,
    work: Callable[[AsyncConnection], Awaitable[None]] | None = None,
) -> Failure | None:
    """Try once to get a connection, in bounded time; return the cause if that fails.

    Args:
        engines: Where to connect to.
        settings: What they were made from.
        engine: The engine to connect with.
        work: Awaited with the connection, within the same time.
    """
    try:
        async with _closing_failed(engine):
            async with asyncio.timeout(_attempt_limit(engines, settings)):
                async with engine.connect() as connection:
                    if work is not None:
                        await work(connection)
                    return None
    except Exception as error:
        failure = failure_of(
            error, engines.target, engines.preset, connect_timeout(engines.target, settings)
        )
        forget_locals(error)
        pool = engine.sync_engine.pool
        if isinstance(pool, FairPool):
            # The caller decides when to try again.
            pool.forget_refusal()
        return failure


@asynccontextmanager
async def _closing_failed(engine: AsyncEngine) -> AsyncIterator[None]:
    """Close a connection whose first queries fail: SQLAlchemy 2.0 leaves its socket or thread open."""
    opened: list[DBAPIConnection] = []

    def remember(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        opened.append(connection)

    event.listen(engine.sync_engine, "connect", remember, insert=True)
    try:
        yield
    except BaseException:
        for connection in opened:
            await _close(engine.dialect, connection)
        raise
    finally:
        event.remove(engine.sync_engine, "connect", remember)


async def _close(dialect: Dialect, connection: DBAPIConnection) -> None:
    if dialect.has_terminate:
        # Without a closing handshake, which would wait for a server that is silent.
        dialect.do_terminate(connection)
    else:
        with CancelScope(shield=True):
            await greenlet_spawn(dialect.do_close, connection)


def _attempt_limit(engines: Engines, settings: DatabaseSettings) -> float | None:
    """Return the seconds of one attempt, for steps that the driver's own timeout does not cover."""
    if not engines.preset.needs_ping:
        # A file answers at once, and SQLite has its own timeout for locks.
        return None
    per_host = connect_timeout(engines.target, settings)
    steps = max(1, len(engines.target.hosts))
    if engines.target.credentials is not None:
        # Both again, if the server refuses the first credentials.
        steps = 2 * (steps + 1)
    return (per_host + 1) * steps if per_host else None
