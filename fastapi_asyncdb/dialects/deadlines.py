"""Statements whose answer is overdue: past its deadline, the client ends the connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from weakref import ref

from sqlalchemy import Connection
from sqlalchemy.engine.interfaces import DBAPIConnection, ExecutionContext
from sqlalchemy.ext.asyncio import AsyncEngine

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

Cut = Callable[[DBAPIConnection], None]
"""Ends a connection at once, so that a task that waits for its answer gets an error."""


class Deadlines:
    """End the connection of a statement that its server has not cancelled in time.

    The server keeps ``statement_timeout``. Behind a proxy that has forgotten a connection there is no
    server to keep it, and the proxy still acknowledges TCP's packets. One timer serves all statements,
    and runs only while there are some. A COMMIT has no deadline.

    Args:
        seconds: The timeout of a statement that has no other one; 0 is none.
        cut: Ends a connection.
        timeout_words: In lower case; a statement with one of them may set another timeout.
    """

    def __init__(self, seconds: float, cut: Cut, timeout_words: Collection[str]) -> None:
        self.seconds = seconds
        self.running: dict[ExecutionContext, float] = {}
        """The statements that run, each with the look after which it is overdue."""
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
        seconds = context.execution_options.get(STATEMENT_TIMEOUT, self.seconds)
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

    def _wake(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_TICK, self._look)

    def _look(self) -> None:
        self._timer = None
        self._looks += 1
        for context in [each for each, due in self.running.items() if due < self._looks]:
            self._end(context)
        if self.running:
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
    """Return whether the connection was ended because an answer was overdue."""
    return bool(info_of(connection).get(_OVERDUE))


def _note_own_timeout(context: ExecutionContext, *, local: bool) -> None:
    """Note a statement that may set another timeout, which only the server knows from then on."""
    if not context.execution_options.get(KEEPS_STATEMENT_TIMEOUT):
        connection = context.root_connection
        transaction = connection.get_transaction() if local else None
        info_of(connection)[_OWN_TIMEOUT] = None if transaction is None else ref(transaction)


def _has_own_timeout(connection: Connection) -> bool:
    info = info_of(connection)
    if _OWN_TIMEOUT not in info:
        return False
    transaction = info[_OWN_TIMEOUT]
    return transaction is None or transaction() is connection.get_transaction()
