"""Pings connections at checkout: those that were idle for long, and may have died unnoticed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from sqlalchemy import event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from fastapi_asyncdb.concurrency import await_only, greenlet_spawn
from fastapi_asyncdb.pool.idle import IDLE_SINCE


def ping_after_idling(
    engine: AsyncEngine,
    idle: float,
    *,
    cut: Callable[[DBAPIConnection], None],
    limit: float | None = None,
) -> None:
    """Ping a connection at checkout, but only one that was idle for long.

    SQLAlchemy's own pre-ping pings at every checkout, which doubles the round trips of a short
    request. A connection that was in use a moment ago is almost never dead.

    Args:
        engine: The engine; its pool notes when a connection was checked in.
        idle: Seconds that a connection may be idle; 0 pings at every checkout.
        cut: Ends a connection at once; the task that waits for its answer gets an error.
        limit: Seconds to wait for the answer; ``None`` is no limit. After a failover, or behind a
            firewall that has forgotten the connection, there is none, and TCP tries for minutes.
    """
    dialect = engine.dialect

    async def ask(connection: DBAPIConnection) -> None:
        # Not cancelled: drivers would then ask the server, which is silent, to cancel the statement.
        timer = asyncio.get_running_loop().call_later(limit, cut, connection) if limit else None
        try:
            await greenlet_spawn(dialect.do_ping, connection)
        finally:
            if timer is not None:
                timer.cancel()

    @event.listens_for(engine.sync_engine, "checkout")
    def ping(
        connection: DBAPIConnection, record: ConnectionPoolEntry, proxy: PoolProxiedConnection
    ) -> None:
        since = record.info.get(IDLE_SINCE)
        if since is None or time.monotonic() - since < idle:
            return
        try:
            await_only(ask(connection))
        except Exception as error:
            # The pool then replaces this connection, and every one that is as old.
            raise InvalidatePoolError from error
