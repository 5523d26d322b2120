"""Statements whose answer is overdue: past its deadline, the client ends the connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Any
from weakref import ref

from sqlalchemy import Connection
from sqlalchemy.engine import Transaction
from sqlalchemy.engine.interfaces import DBAPIConnection, ExecutionContext
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import PoolProxiedConnection

from fastapi_asyncdb import finishing
from fastapi_asyncdb.dialects.calls import info_of, steps_of

STATEMENT_TIMEOUT = "fastapi_asyncdb_statement_timeout"
"""The execution option of a connection whose transactions have a timeout of their own; seconds."""
KEEPS_STATEMENT_TIMEOUT = "fastapi_asyncdb_keeps_statement_timeout"
"""The execution option of the statement by which the library itself sets that timeout."""

_TICK = 0.5
"""Seconds between two checks of the statements that run."""
_OVERDUE = "fastapi_asyncdb.overdue"
_OWN_TIMEOUT = "fastapi_asyncdb.own_timeout"
_COMMIT_TIMEOUT = "fastapi_asyncdb.commit_timeout"

Cut = Callable[[DBAPIConnection], None]
"""Ends a connection at once, so that a task that waits for its answer gets an error."""


class Deadlines:
    """End the connection of a statement that its server has not cancelled in time, or of a COMMIT.

    The server keeps ``statement_timeout``, for statements. Behind a proxy that has forgotten a
    connection there is no server to keep it, and the proxy still acknowledges TCP's packets; so does the
    kernel of a server that stands still. One timer serves all, and runs only while there are some.

    Args:
        seconds: The timeout of a statement that has no other one; 0 is none.
        cut: Ends a connection.
        timeout_words: In lower case; a statement with one of them may set another timeout.
    """

    def __init__(self, seconds: float, cut: Cut, timeout_words: Collection[str]) -> None:
        self.seconds = seconds
        self.running: dict[ExecutionContext | PoolProxiedConnection, float] = {}
        """The statements, and the connections whose COMMIT runs; each with the look after which it is
        overdue."""
        self._cut = cut
        self._timeout_words = timeout_words
        self._looks = 0
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, engine: AsyncEngine) -> None:
        """Watch the statements of an engine, and of those that share its dialect."""
        steps_of(engine.sync_engine.dialect).deadlines = self

    def begin(self, context: ExecutionContext, statement: str, times: int) -> bool:
        """Start to count the time of a statement; the caller removes it from ``running`` at its end.

        Args:
            context: SQLAlchemy's, of the statement.
            statement: Its text.
            times: How many timeouts it has, one for each set of parameters.

        Returns:
            Whether the statement has a timeout.
        """
        seconds = context.execution_options.get(STATEMENT_TIMEOUT)
        if seconds is None:
            seconds = self.seconds
        else:
            _note_timeout(context.root_connection, seconds)
        if not seconds:
            return False
        lowered = statement.lower()
        for word in self._timeout_words:
            if word in lowered:
                _note_own_timeout(context, local=" local " in lowered)
                break
        # Counted in looks: while the event loop is blocked, no answer can be read.
        self.running[context] = self._looks + (seconds * times + finishing.GRACE.answer) / _TICK
        if self._timer is None:
            self._wake()
        return True

    def begin_commit(self, connection: PoolProxiedConnection) -> bool:
        """Start to count the time of a COMMIT, which has that of a statement; the server lets it run.

        The caller removes the connection from ``running`` at its end.

        Returns:
            Whether the statements of the transaction have a timeout.
        """
        info = info_of(connection)
        transaction, seconds = info.get(_COMMIT_TIMEOUT, (None, 0.0))
        if not _is_active(transaction):
            seconds = self.seconds
        if not seconds or _has_own_timeout(info):
            return False
        self.running[connection] = self._looks + (seconds + finishing.GRACE.answer) / _TICK
        if self._timer is None:
            self._wake()
        return True

    def _wake(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_TICK, self._look)

    def _look(self) -> None:
        self._timer = None
        self._looks += 1
        for running in [each for each, due in self.running.items() if due < self._looks]:
            self._end(running)
        if self.running:
            self._wake()

    def _end(self, running: ExecutionContext | PoolProxiedConnection) -> None:
        connection = running.root_connection if isinstance(running, ExecutionContext) else running
        if isinstance(connection, Connection):
            if connection.closed or connection.invalidated or _has_own_timeout(info_of(connection)):
                return
            connection = connection.connection
        raw, info = connection.dbapi_connection, info_of(connection)
        if raw is not None and not info.get(_OVERDUE):
            info[_OVERDUE] = True
            self._cut(raw)


def overdue(connection: Connection) -> bool:
    """Return whether the connection was ended because an answer was overdue."""
    return bool(info_of(connection).get(_OVERDUE))


def _note_own_timeout(context: ExecutionContext, *, local: bool) -> None:
    """Note a statement that may set another timeout, which only the server knows from then on."""
    if not context.execution_options.get(KEEPS_STATEMENT_TIMEOUT):
        connection = context.root_connection
        transaction = connection.get_transaction() if local else None
        info_of(connection)[_OWN_TIMEOUT] = None if transaction is None else ref(transaction)


def _has_own_timeout(info: dict[Any, Any]) -> bool:
    if _OWN_TIMEOUT not in info:
        return False
    transaction = info[_OWN_TIMEOUT]
    return transaction is None or _is_active(transaction)


def _note_timeout(connection: Connection, seconds: float) -> None:
    """Note the timeout of a transaction's statements, for its COMMIT, which has no options."""
    transaction = connection.get_transaction()
    if transaction is not None:
        info_of(connection)[_COMMIT_TIMEOUT] = ref(transaction), seconds


def _is_active(transaction: ref[Transaction] | None) -> bool:
    found = None if transaction is None else transaction()
    return found is not None and found.is_active
