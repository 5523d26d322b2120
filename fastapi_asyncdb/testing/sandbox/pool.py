"""The pool of a sandbox: hands out its one connection, in turn."""

from __future__ import annotations

from typing import Any, NoReturn, cast

from sqlalchemy import event
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from fastapi_asyncdb.concurrency import await_only
from fastapi_asyncdb.errors import PoolTimeout, SandboxError
from fastapi_asyncdb.testing.sandbox.connection import OneConnection
from fastapi_asyncdb.testing.sandbox.savepoints import Savepoint
from fastapi_asyncdb.testing.sandbox.turns import Turn

SAVEPOINT = "fastapi_asyncdb.savepoint"
"""Where a record of the pool has the savepoint of its session."""
_TURN = "fastapi_asyncdb.turn"


class _Lent:
    """The connection as sessions have it: its transaction is not theirs.

    Args:
        one: The connection.
    """

    def __init__(self, one: OneConnection) -> None:
        self._one = one

    def __getattr__(self, name: str) -> Any:
        return getattr(self._one.connection, name)

    def commit(self) -> NoReturn:
        """Refuse: it would be for good.

        Raises:
            SandboxError: always.
        """
        raise SandboxError(
            "commit() or rollback() was called on the driver's connection, whose transaction is the "
            "sandbox's. Use those of the session, or of SQLAlchemy's connection, or test this with "
            "isolated_database."
        )

    rollback = commit


class SandboxPool(NullPool):
    """Hands out the connection to one session at a time, and to those inside of it.

    Args:
        one: The connection.
        dialect: One that closes nothing.
        patience: Seconds to wait for one's turn; ``None`` takes none.
    """

    # Or it would log by its own module's name, which "sqlalchemy.pool" does not govern.
    _sqla_logger_namespace = "sqlalchemy.pool.impl.NullPool"

    def __init__(self, one: OneConnection, dialect: Dialect, patience: float | None) -> None:
        super().__init__(lambda: cast(Any, _Lent(one)), dialect=dialect)
        self._one = one
        self._patience = patience
        self._out = 0
        event.listen(self, "invalidate", self._recover)

    def checkedout(self) -> int:
        """Return how many sessions have the connection."""
        return self._out

    def dispose(self) -> None:
        """Do nothing: the connection belongs to the pool that it comes from."""

    def recreate(self) -> SandboxPool:
        """Return itself: there is nothing to make anew."""
        return self

    def _do_get(self) -> ConnectionPoolEntry:
        turn = None if self._patience is None else self._take_turn(self._patience)
        record = super()._do_get()
        record.info[_TURN] = turn
        self._out += 1
        return record

    def _take_turn(self, patience: float) -> Turn:
        around = self._one.turns.innermost()
        turn = around.at_once() or await_only(around.in_line(patience))
        if turn is None:
            raise PoolTimeout(
                f"No turn in the sandbox within {patience:g} s: its sessions share one connection, "
                "and another task's transaction is still open, most likely because it waits for "
                "this one. End it first, or test this with isolated_database."
            )
        return turn

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        self._out -= 1
        turn: Turn | None = record.info.pop(_TURN, None)
        if record.info.pop(SAVEPOINT, None) is not None:
            self._one.lose("a session was left to the garbage collector in its transaction")
        super()._do_return_conn(record)
        if turn is not None:
            turn.end()

    def _recover(self, connection: Any, record: ConnectionPoolEntry, error: object) -> None:
        savepoint: Savepoint | None = record.info.pop(SAVEPOINT, None)
        if isinstance(error, Exception):
            self._one.lose(f"its connection was lost ({type(error).__name__})")
            return
        if error is None:  # a sandbox inside of this one has found it so
            self._one.worn = True
        if savepoint is not None:  # a cancelled statement has been undone already
            self._one.undo(savepoint)
