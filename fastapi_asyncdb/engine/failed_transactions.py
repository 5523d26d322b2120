"""Transactions that a failed statement has ended: code that catches its error must not go on in them.

PostgreSQL answers COMMIT with ROLLBACK then, and no driver raises. SQLite may have rolled back as well,
and stores each further statement by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from weakref import ref

from sqlalchemy import Connection, ExceptionContext
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import PoolProxiedConnection

from fastapi_asyncdb.dialects import ErrorStep, Preset
from fastapi_asyncdb.dialects.autocommit import commits_itself
from fastapi_asyncdb.dialects.calls import Method, info_of, steps_of, wrap
from fastapi_asyncdb.errors import AsyncDBError, TransactionAborted

_FAILURE = "fastapi_asyncdb.failure"


@dataclass(slots=True, weakref_slot=True, eq=False)
class _Failure:
    """Kept with the connection whose transaction it has ended, and by no one else."""

    error: BaseException


def refuse_failed_transactions(engine: AsyncEngine) -> None:
    """Refuse statements in a transaction that has failed, until a rollback or a savepoint undoes it."""
    dialect = engine.sync_engine.dialect
    steps_of(dialect).refuse_failed = refuse_aborted
    wrap(dialect, "do_rollback", _undoing)
    # Its statement would be refused like any other.
    wrap(dialect, "do_rollback_to_savepoint", _undoing)


def _undoing(rollback: Method) -> Method:
    def roll_back(connection: Connection | PoolProxiedConnection, *name: str) -> None:
        forget_abort(connection)
        rollback(connection, *name)

    return roll_back


def failed_statements(engine: AsyncEngine, preset: Preset) -> ErrorStep:
    """Return the step that remembers the error by which a transaction has failed."""
    failed = steps_of(engine.sync_engine.dialect).failed

    def remember(context: ExceptionContext) -> None:
        connection = context.connection
        # Without a statement the COMMIT or ROLLBACK itself has failed.
        if connection is None or context.statement is None or not _in_transaction(connection):
            return
        if isinstance(context.original_exception, AsyncDBError):
            return  # refused by the library: the database has not seen it
        raw = connection.connection.dbapi_connection
        if raw is None or _FAILURE in connection.info:
            return
        if preset.drops_transaction(raw, context.original_exception):
            failure = connection.info[_FAILURE] = _Failure(context.original_exception)
            failed.append(ref(failure, failed.remove))

    return remember


def forget_abort(connection: Connection | PoolProxiedConnection) -> None:
    """Note that a failed transaction is undone: the connection may be used again."""
    info_of(connection).pop(_FAILURE, None)


def _in_transaction(connection: Connection) -> bool:
    if connection.invalidated or not connection.in_transaction():
        return False
    return not commits_itself(connection.get_execution_options())


def refuse_aborted(connection: Connection) -> None:
    """Refuse to go on in a transaction that has failed.

    Raises:
        TransactionAborted: chained to the error that was caught.
    """
    # A connection that was lost has no info, and SQLAlchemy has an error of its own for it.
    failure: _Failure | None = None if connection.invalidated else info_of(connection).get(_FAILURE)
    if failure is not None:
        raise TransactionAborted(
            f"A statement failed ({type(failure.error).__name__}), its error was caught, and the "
            "database has ended the transaction: nothing in it can be stored any more. Put what may "
            "fail into 'async with db.begin_nested():', or call 'await db.rollback()' and start again."
        ) from failure.error
