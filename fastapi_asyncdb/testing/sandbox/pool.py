"""The pool of a sandbox: checks out its one connection, to one session after the other."""

from __future__ import annotations

from typing import Any, NoReturn, cast

from sqlalchemy import event
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from fastapi_asyncdb.concurrency import await_only
from fastapi_asyncdb.errors import PoolTimeout, SandboxError
from fastapi_asyncdb.testing.sandbox.connection import SharedConnection
from fastapi_asyncdb.testing.sandbox.savepoint_stack import Savepoint
from fastapi_asyncdb.testing.sandbox.slots import Slot

SAVEPOINT = "fastapi_asyncdb.savepoint"
"""The key of a session's savepoint in its pool record's ``info``."""
_SLOT = "fastapi_asyncdb.sandbox_slot"


class _Borrowed:
    """The connection as sessions get it: they cannot end its transaction.

    Args:
        shared: The connection.
    """

    def __init__(self, shared: SharedConnection) -> None:
        self._shared = shared

    def __getattr__(self, name: str) -> Any:
        return getattr(self._shared.connection, name)

    def commit(self) -> NoReturn:
        """Refuse to end the sandbox's transaction.

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
    """Check the connection out to one session at a time, and to sessions opened inside of it.

    Args:
        shared: The connection.
        dialect: One that closes nothing.
        timeout: Seconds to wait for a slot; ``None`` needs no slot.
    """

    # Or it would log by its own module's name, which "sqlalchemy.pool" does not govern.
    _sqla_logger_namespace = "sqlalchemy.pool.impl.NullPool"

    def __init__(self, shared: SharedConnection, dialect: Dialect, timeout: float | None) -> None:
        super().__init__(lambda: cast(Any, _Borrowed(shared)), dialect=dialect)
        self._shared = shared
        self._timeout = timeout
        self._out = 0
        event.listen(self, "invalidate", self._recover)

    def checkedout(self) -> int:
        """Return how many sessions have the connection."""
        return self._out

    def size(self) -> int:
        """Return 1: there is one connection."""
        return 1

    def dispose(self) -> None:
        """Do nothing: the connection belongs to the pool that it comes from."""

    def recreate(self) -> SandboxPool:
        """Return itself: it has no connections of its own to replace."""
        return self

    def _do_get(self) -> ConnectionPoolEntry:
        slot = None if self._timeout is None else self._take_slot(self._timeout)
        record = super()._do_get()
        record.info[_SLOT] = slot
        self._out += 1
        return record

    def _take_slot(self, timeout: float) -> Slot:
        around = self._shared.slots.innermost()
        slot = around.take_free() or await_only(around.wait(timeout))
        if slot is None:
            raise PoolTimeout(
                f"The sandbox's connection did not become free within {timeout:g} s: its sessions "
                "share one connection, and another task's transaction is still open, most likely "
                "because it waits for this one. End it first, or test this with isolated_database."
            )
        return slot

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        self._out -= 1
        slot: Slot | None = record.info.pop(_SLOT, None)
        if record.info.pop(SAVEPOINT, None) is not None:
            self._shared.mark_broken(
                "a session was left to the garbage collector in its transaction"
            )
        super()._do_return_conn(record)
        if slot is not None:
            slot.release()

    def _recover(self, connection: Any, record: ConnectionPoolEntry, error: object) -> None:
        savepoint: Savepoint | None = record.info.pop(SAVEPOINT, None)
        if isinstance(error, Exception):
            self._shared.mark_broken(f"its connection was lost ({type(error).__name__})")
            return
        if error is None:  # an inner sandbox has tainted the connection
            self._shared.tainted = True
        if savepoint is not None:  # None: the cancelled statement is undone already
            self._shared.undo(savepoint)
