"""Failover: connections to a server that became read-only are replaced, and the error says so.

A managed service demotes a primary, and its name, or a proxy, leads to another server from then on. The
connections to the old one stay open.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, cast

from sqlalchemy import Connection, event
from sqlalchemy.engine.interfaces import DBAPIConnection, ExceptionContext
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import ConnectionPoolEntry

from fastapi_asyncdb.dialects.calls import READS
from fastapi_asyncdb.errors import ReadOnlySession, ServerReadOnly

_START = "fastapi_asyncdb.start"
# Seconds between two replacements, so that a server that stays read-only gets few new connections.
_PAUSE = 0.5

State = Callable[[DBAPIConnection], Any]
"""Returns what is known of a connection's server."""


def remember_start(engine: AsyncEngine, state: State) -> None:
    """Note of each new connection when it was made, and the state of its server then.

    Without that note ``Failover`` replaces no connection.
    """

    def remember(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        record.info[_START] = time.monotonic(), state(connection)

    event.listen(engine.sync_engine, "connect", remember)


class Failover:
    """Replace connections whose server has become read-only; remember when that last happened.

    Not if only the transaction is read-only.

    Args:
        is_refused: Returns whether, by its error, a statement was to write where that is impossible.
        became_read_only: Called with the connection, and the state of its server at its start. Returns
            true if the server takes no writes any more, ``None`` if it may have been so before, false
            if only the transaction is read-only.
        maybe: What to add to the error if it is unknown.
    """

    def __init__(
        self,
        is_refused: Callable[[BaseException], bool],
        became_read_only: Callable[[Connection, Any], bool | None],
        maybe: str,
    ) -> None:
        self._is_refused = is_refused
        self._became_read_only = became_read_only
        self._maybe = maybe
        self._replaced_at = -math.inf

    def leave(self, context: ExceptionContext) -> BaseException | None:
        """Have connections replaced if their server is read-only; return the error to raise instead."""
        connection, error = context.connection, context.original_exception
        if connection is None or not self._is_refused(error):
            return None
        if connection.get_execution_options().get(READS):
            return _read_only_session(error)
        # A sandbox has no start, and keeps its one connection.
        start = None if connection.invalidated else connection.info.get(_START)
        if start is None:
            return None
        began, before = start
        became = self._became_read_only(connection, before)
        if became:
            self._replace_all(connection)
            return _server_read_only(error)
        if became is None:
            _replace_this(connection, age=time.monotonic() - began)
            if context.sqlalchemy_exception is not None:
                context.sqlalchemy_exception.add_detail(self._maybe)
        return None

    def _replace_all(self, connection: Connection) -> None:
        """Replace this connection, and every one that is as old, when they are checked out next."""
        now = time.monotonic()
        if now - self._replaced_at >= _PAUSE:
            self._replaced_at = now
            # As SQLAlchemy does when a connection is lost; this one is needed for its ROLLBACK.
            connection.engine.pool._invalidate(connection.connection, _checkin=False)


def raw_of(connection: Connection) -> DBAPIConnection:
    """Return the driver's side of a connection that is open."""
    return cast(DBAPIConnection, connection.connection.dbapi_connection)


def _replace_this(connection: Connection, *, age: float) -> None:
    if age >= _PAUSE:
        connection.connection.invalidate(soft=True)


def _read_only_session(error: BaseException) -> ReadOnlySession:
    return ReadOnlySession(
        f"The server refused to write in a reading session ({' '.join(str(error).split())}), most "
        "likely because a function in the query writes. Use DB instead of ReadDB or SnapshotDB, or "
        "database.session() instead of read_session()."
    )


def _server_read_only(error: BaseException) -> ServerReadOnly:
    return ServerReadOnly(
        f"The server became read-only ({' '.join(str(error).split())}), most likely because another one "
        "has taken over as the primary, or because its disk is full. Nothing of this transaction was "
        "stored. The pool replaces the connections to it: run the transaction again, as RetryRoute and "
        "run_in_transaction do.",
        error,
    )
