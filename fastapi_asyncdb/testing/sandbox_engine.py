"""Engines on one connection in an open transaction, whose own transactions are savepoints of it."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.engine.interfaces import DBAPIConnection, Dialect
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import ConnectionPoolEntry, NullPool, PoolProxiedConnection
from sqlalchemy.util import await_only
from sqlalchemy.util.concurrency import in_greenlet

from fastapi_asyncdb.aborted import forget_abort
from fastapi_asyncdb.errors import PoolTimeout, SandboxError
from fastapi_asyncdb.read_only import only_reads
from fastapi_asyncdb.testing.savepoints import Savepoint, Savepoints
from fastapi_asyncdb.testing.turns import Turn

_SAVEPOINT = "fastapi_asyncdb.savepoint"
_TURN = "fastapi_asyncdb.turn"
# What would end the sandbox's own transaction. Savepoints of the user's own are welcome.
_ENDS = re.compile(
    r"\s*(?:begin|start\s+transaction|commit|end|abort|rollback(?!\s+(?:transaction\s+|work\s+)?to)"
    r"|prepare\s+transaction)\b",
    re.IGNORECASE,
)


class OneConnection:
    """The connection of a sandbox: what runs on it, and whether it is still to be had.

    Args:
        connection: In its transaction.
        dialect: Of the engine that it comes from.
    """

    def __init__(self, connection: DBAPIConnection, dialect: Dialect) -> None:
        self.connection = connection
        self.dialect = dialect
        self.savepoints = Savepoints(self.run)
        self.turns = Turn()
        self.lost: str | None = None
        """Why it cannot be used any more."""

    def run(self, statement: str) -> None:
        """Run a statement of the sandbox's own, which no listener sees."""
        self.refuse_lost()
        cursor = self.connection.cursor()
        try:
            cursor.execute(statement)
        finally:
            cursor.close()

    def refuse_lost(self) -> None:
        """Refuse a connection that would commit for good.

        Raises:
            SandboxError: its transaction is over.
        """
        driver: Any = getattr(self.connection, "driver_connection", None)
        if self.lost is None and getattr(driver, "in_transaction", None) is False:
            self.lost = "the database has rolled back the whole transaction"
        if self.lost is not None:
            raise SandboxError(
                f"This sandbox cannot be used any more: {self.lost}. Await background work before "
                "the test ends; test lost connections with isolated_database."
            )


class SandboxPool(NullPool):
    """Hands out the one connection, to one session at a time and to those inside of it.

    Args:
        one: The connection.
        in_turn: Whether to wait for one's turn.
        patience: Seconds to wait for it.
    """

    def __init__(self, one: OneConnection, *, in_turn: bool, patience: float = 0) -> None:
        super().__init__(lambda: one.connection, dialect=one.dialect)
        self._one = one
        self._in_turn = in_turn
        self._patience = patience
        self._out = 0

    def checkedout(self) -> int:
        """Return how many sessions have it."""
        return self._out

    def _do_get(self) -> ConnectionPoolEntry:
        turn = self._turn() if self._in_turn else None
        try:
            self._one.refuse_lost()
            record = super()._do_get()
        except BaseException:
            if turn is not None:
                turn.end()
            raise
        record.info[_TURN] = turn
        self._out += 1
        return record

    def _turn(self) -> Turn:
        around = self._one.turns.innermost()
        turn = around.at_once() or await_only(around.in_line(self._patience))
        if turn is None:
            raise PoolTimeout(
                f"No turn in the sandbox within {self._patience:g} s: its sessions share one "
                "connection, and another task's transaction is still open, most likely because it "
                "waits for this one. End it first, or test this with isolated_database."
            )
        return turn

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        self._out -= 1
        turn: Turn | None = record.info.pop(_TURN, None)
        super()._do_return_conn(record)
        if turn is not None:
            turn.end()

    def dispose(self) -> None:
        """Do nothing: the connection belongs to the pool that it comes from."""

    def recreate(self) -> SandboxPool:
        """Return itself: there is nothing to make anew."""
        return self


def writing_dialect(one: OneConnection, check: Callable[[OneConnection], None]) -> Dialect:
    """Return the dialect in which a transaction is a savepoint.

    Args:
        one: The connection.
        check: Checks what COMMIT would check; raises what it would raise.
    """
    dialect = _without_ends(one)
    rollback_to_savepoint = dialect.do_rollback_to_savepoint

    def do_begin(dbapi_connection: PoolProxiedConnection) -> None:
        dbapi_connection.info[_SAVEPOINT] = one.savepoints.begin()

    def do_commit(dbapi_connection: PoolProxiedConnection) -> None:
        check(one)
        one.savepoints.commit(dbapi_connection.info.pop(_SAVEPOINT))

    def do_rollback(dbapi_connection: PoolProxiedConnection) -> None:
        forget_abort(dbapi_connection)
        savepoint = dbapi_connection.info.pop(_SAVEPOINT, None)
        if savepoint is not None:
            one.savepoints.rollback(savepoint)

    def before(statement: str, info: dict[Any, Any]) -> None:
        if _SAVEPOINT in info and not only_reads(statement):
            one.savepoints.note_write(info[_SAVEPOINT])

    _put(dialect, do_begin=do_begin, do_commit=do_commit, do_rollback=do_rollback)
    _put(dialect, do_rollback_to_savepoint=rollback_to_savepoint)
    _wrap_execution(dialect, one, before)
    return dialect
