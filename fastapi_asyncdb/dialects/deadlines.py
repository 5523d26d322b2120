"""Statements whose answer is overdue: past it, the client ends the connection. Knows no database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from weakref import ref

from sqlalchemy import Connection
from sqlalchemy.engine.interfaces import DBAPIConnection, Dialect, ExecutionContext
from sqlalchemy.ext.asyncio import AsyncEngine

from fastapi_asyncdb.dialects.calls import (
    KEEPS_STATEMENT_TIMEOUT,
    MANY,
    STATEMENT_TIMEOUT,
    each_execution,
    info_of,
)

_GRACE = 5.0
"""Seconds that an answer has beyond the statement's own timeout, which the server keeps."""
_TICK = 0.5
"""Seconds between two looks at what is under way."""
_OVERDUE = "fastapi_asyncdb.overdue"
_OWN_TIMEOUT = "fastapi_asyncdb.own_timeout"

Cut = Callable[[DBAPIConnection], None]
"""Ends a connection at once, so that what waits for its answer fails."""


class Deadlines:
    """End the connection of a statement whose server has not cancelled it in time.

    The server keeps ``statement_timeout``. Behind a proxy that has forgotten a connection there is no
    server to keep it, and TCP is content with the proxy. One timer serves all statements, and runs only
    while there are some; a COMMIT is none of them, and takes as long as it takes.

    Args:
        seconds: The timeout of a statement for which nothing else was said; 0 is none.
        cut: Ends a connection.
    """

    def __init__(self, seconds: float, cut: Cut) -> None:
        self.seconds = seconds
        self._cut = cut
        self._watched: set[int] = set()
        self._running: dict[ExecutionContext, float] = {}
        self._looks = 0
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, engine: AsyncEngine) -> None:
        """Watch the statements of an engine and of those derived from it; once is enough."""
        dialect = engine.sync_engine.dialect
        if id(dialect) not in self._watched:
            self._watched.add(id(dialect))
            self._wrap(dialect)

    def _wrap(self, dialect: Dialect) -> None:
        # In the dialect's own methods, since one listener for an engine's events makes SQLAlchemy look
        # for listeners at each step of each statement.
        for name, execute in each_execution(dialect):
            setattr(dialect, name, self._timed(execute, many=name == MANY))

    def _timed(self, execute: Callable[..., None], *, many: bool) -> Callable[..., None]:
        def timed(*arguments: Any) -> None:
            context: ExecutionContext | None = arguments[-1]
            if context is None:
                return execute(*arguments)
            seconds = context.execution_options.get(STATEMENT_TIMEOUT, self.seconds)
            if not seconds:
                return execute(*arguments)
            if many:
                # The server counts anew for each set of parameters.
                seconds *= len(arguments[2])
            _note_own_timeout(arguments[1], context)
            # Counted in looks: time in which the event loop was blocked is none to answer in.
            self._running[context] = self._looks + (seconds + _GRACE) / _TICK
            if self._timer is None:
                self._wake()
            try:
                return execute(*arguments)
            finally:
                del self._running[context]

        return timed

    def _wake(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_TICK, self._look)

    def _look(self) -> None:
        self._timer = None
        self._looks += 1
        for context in [each for each, due in self._running.items() if due < self._looks]:
            self._end(context)
        if self._running:
            self._wake()

    def _end(self, context: ExecutionContext) -> None:
        connection = context.root_connection
        if connection.closed or connection.invalidated or _has_own_timeout(connection):
            return
        raw, info = connection.connection.dbapi_connection, info_of(connection)
        if raw is not None and not info.get(_OVERDUE):
            info[_OVERDUE] = True
            self._cut(raw)


def overdue(connection: Connection) -> bool:
    """Tell whether the connection was ended because an answer was overdue."""
    return bool(info_of(connection).get(_OVERDUE))


def _note_own_timeout(statement: str, context: ExecutionContext) -> None:
    """Note a statement that may set another timeout, which only the server knows from then on."""
    lowered = statement.lower()
    if not ("statement_timeout" in lowered or "set_config" in lowered):
        return
    if not context.execution_options.get(KEEPS_STATEMENT_TIMEOUT):
        connection = context.root_connection
        local = " local " in lowered
        transaction = connection.get_transaction() if local else None
        info_of(connection)[_OWN_TIMEOUT] = None if transaction is None else ref(transaction)


def _has_own_timeout(connection: Connection) -> bool:
    info = info_of(connection)
    if _OWN_TIMEOUT not in info:
        return False
    transaction = info[_OWN_TIMEOUT]
    return transaction is None or transaction() is connection.get_transaction()
