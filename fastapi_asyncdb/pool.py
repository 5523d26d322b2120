"""Checkout and checkin policy of the connection pool: which connections are asked whether they live."""

from __future__ import annotations

import time

from sqlalchemy import event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

_RETURNED_AT = "fastapi_asyncdb.returned_at"


def ping_after_idling(engine: AsyncEngine, idle: float) -> None:
    """Ping a connection at checkout, but only one that has been idle for longer than that.

    SQLAlchemy's own pre-ping asks at every checkout, which doubles the round trips of a short
    request. A connection that was in use a moment ago is almost never dead.

    Args:
        engine: The engine whose pool to watch.
        idle: Seconds; 0 pings at every checkout.
    """
    dialect = engine.dialect

    @event.listens_for(engine.sync_engine, "checkin")
    def stamp(connection: DBAPIConnection | None, record: ConnectionPoolEntry) -> None:
        record.info[_RETURNED_AT] = time.monotonic()

    @event.listens_for(engine.sync_engine, "checkout")
    def ping(
        connection: DBAPIConnection, record: ConnectionPoolEntry, proxy: PoolProxiedConnection
    ) -> None:
        returned_at = record.info.get(_RETURNED_AT)
        if returned_at is None or time.monotonic() - returned_at < idle:
            return
        try:
            dialect.do_ping(connection)
        except dialect.loaded_dbapi.Error as error:
            # Tells the pool to replace this connection, and every one that is as old.
            raise InvalidatePoolError from error
