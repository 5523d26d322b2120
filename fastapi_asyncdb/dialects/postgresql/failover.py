"""Failover: connections to a server that became read-only are replaced, and the error says so.

A managed service demotes a primary by ``default_transaction_read_only``. From then on its name, or a
proxy, may lead to another server, but the connections to the old one stay open.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Connection, event
from sqlalchemy.engine.interfaces import DBAPIConnection, ExceptionContext
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import ConnectionPoolEntry

from fastapi_asyncdb.dialects.postgresql.errors import READ_ONLY, sqlstate_of
from fastapi_asyncdb.dialects.postgresql.hosts import target_session_attrs
from fastapi_asyncdb.dialects.target import Target
from fastapi_asyncdb.errors import ServerReadOnly

_STANDBYS = ("standby", "read-only", "prefer-standby")
_START = "fastapi_asyncdb.start"
# Seconds between two replacements, so that a server that stays read-only gets few new connections.
_PAUSE = 0.5
_MAYBE = (
    "Either the role or the database is not meant to write, see default_transaction_read_only; or the "
    "server was read-only already when this connection was made: it is replaced, and the next one looks "
    "for a server that takes writes"
)


def watch_for_failover(engine: AsyncEngine, target: Target) -> None:
    """Note of each new connection whether its server takes writes, unless the URL wants a standby.

    Without that note ``Failover`` replaces no connection.
    """
    if target_session_attrs(target.connect_args.get("target_session_attrs")) not in _STANDBYS:
        event.listen(engine.sync_engine, "connect", _remember_start)


@dataclass(frozen=True, slots=True)
class _Server:
    """The settings that the server reports by itself, since PostgreSQL 14; ``None`` is no report.

    https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-ASYNC
    """

    standby: bool | None
    read_only: bool | None

    @classmethod
    def of(cls, connection: DBAPIConnection) -> _Server:
        driver: Any = connection.driver_connection
        if hasattr(driver, "get_settings"):
            settings = driver.get_settings()
            values = [getattr(settings, name, None) for name in _REPORTS]
        else:
            values = [driver.info.parameter_status(name) for name in _REPORTS]
        standby, read_only = (None if value is None else value == "on" for value in values)
        return cls(standby, read_only)


_REPORTS = ("in_hot_standby", "default_transaction_read_only")


def _remember_start(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
    record.info[_START] = time.monotonic(), _Server.of(connection)


class Failover:
    """Replace connections whose server has become read-only; remember when that last happened.

    Not if only the transaction is read-only.
    """

    def __init__(self) -> None:
        self._replaced_at = -math.inf

    def leave(self, context: ExceptionContext) -> BaseException | None:
        """Have connections replaced if their server is read-only; return the error to raise instead."""
        connection, error = context.connection, context.original_exception
        if sqlstate_of(error) != READ_ONLY or connection is None:
            return None
        # A sandbox has no start, and keeps its one connection.
        start = None if connection.invalidated else connection.info.get(_START)
        if start is None or connection.get_execution_options().get("postgresql_readonly"):
            return None
        began, before = start
        now = _Server.of(cast(DBAPIConnection, connection.connection.dbapi_connection))
        if now.standby or (now.read_only and before.read_only is False):
            self._replace_all(connection)
            return _server_read_only(error)
        if now.read_only is not False:
            _replace_this(connection, age=time.monotonic() - began)
            if context.sqlalchemy_exception is not None:
                context.sqlalchemy_exception.add_detail(_MAYBE)
        # Otherwise it is only the transaction that was to be read-only.
        return None

    def _replace_all(self, connection: Connection) -> None:
        """Replace this connection, and every one that is as old, when they are checked out next."""
        now = time.monotonic()
        if now - self._replaced_at >= _PAUSE:
            self._replaced_at = now
            # As SQLAlchemy does when a connection is lost; this one is needed for its ROLLBACK.
            connection.engine.pool._invalidate(connection.connection, _checkin=False)


def _replace_this(connection: Connection, *, age: float) -> None:
    if age >= _PAUSE:
        connection.connection.invalidate(soft=True)


def _server_read_only(error: BaseException) -> ServerReadOnly:
    return ServerReadOnly(
        f"The server became read-only ({' '.join(str(error).split())}), most likely because another one "
        "has taken over as the primary, or because its disk is full. Nothing of this transaction was "
        "stored. The pool replaces the connections to it: run the transaction again, as RetryRoute and "
        "run_in_transaction do.",
        error,
    )
