"""Transactions that a failed statement has ended: code that catches its error must not go on in them.

PostgreSQL answers COMMIT with ROLLBACK then, and no driver raises. SQLite may have rolled back as well,
and stores each further statement by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from weakref import ref

from sqlalchemy import Connection, ExceptionContext
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import PoolProxiedConnection

from fastapi_asyncdb.dialects import ErrorStep, Preset
from fastapi_asyncdb.dialects.autocommit import commits_itself
from fastapi_asyncdb.dialects.calls import info_of, steps_of
from fastapi_asyncdb.errors import AsyncDBError, TransactionAborted

_FAILURE = "fastapi_asyncdb.failure"


@dataclass(slots=True, weakref_slot=True, eq=False)
class _Failure:
    """The failure of a transaction; only its connection refers to it."""

    error: BaseException
    message: str


def refuse_failed_transactions(engine: AsyncEngine, preset: Preset) -> None:
    """Refuse statements and COMMIT in a transaction that has failed, until a rollback undoes it."""
    steps = steps_of(engine.sync_engine.dialect)
    steps.refuse_failed, steps.refuse_end = _refuse_failed, refuse_end
    steps.forget_failed = forget_failure if preset.failures_keep_savepoints else _forget_whole


def failed_statements(preset: Preset) -> ErrorStep:
    """Return the step that remembers the error by which a transaction has failed."""

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
            mark_failed(connection, context.original_exception, _message(context))

    return remember


def mark_failed(connection: Connection, error: BaseException, message: str) -> None:
    """Refuse everything but a rollback on a connection from now on.

    Args:
        connection: In a transaction.
        error: The cause.
        message: Of the ``TransactionAborted`` that is raised.
    """
    failed = steps_of(connection.dialect).failed
    failure = connection.info[_FAILURE] = _Failure(error, message)
    failed.append(ref(failure, failed.remove))


def _message(context: ExceptionContext) -> str:
    return (
        f"A statement failed ({type(context.original_exception).__name__}), its error was caught, and "
        "the database has ended the transaction: nothing in it can be stored any more. Put what may "
        "fail into 'async with db.begin_nested():', or call 'await db.rollback()' and start again."
    )


def forget_failure(connection: Connection | PoolProxiedConnection, *savepoint: str) -> bool:
    """Note that a failed transaction is undone: the connection may be used again.

    Returns:
        True: there is something to roll back.
    """
    info_of(connection).pop(_FAILURE, None)
    return True


def _forget_whole(connection: PoolProxiedConnection, *savepoint: str) -> bool:
    """Do the same for the whole transaction only: its savepoints have gone with it."""
    if savepoint:
        return _FAILURE not in info_of(connection)
    return forget_failure(connection)


def _in_transaction(connection: Connection) -> bool:
    if connection.invalidated or not connection.in_transaction():
        return False
    return not commits_itself(connection.get_execution_options())


def _refuse_failed(connection: Connection | PoolProxiedConnection) -> None:
    """Refuse to go on in a transaction that has failed.

    Raises:
        TransactionAborted: chained to the error that was caught.
    """
    # A connection that was lost has no info, and SQLAlchemy has an error of its own for it.
    if isinstance(connection, Connection) and connection.invalidated:
        return
    failure: _Failure | None = info_of(connection).get(_FAILURE)
    if failure is not None:
        raise TransactionAborted(failure.message) from failure.error


def refuse_end(
    connection: Connection | PoolProxiedConnection, undo: Callable[..., None], *name: str
) -> None:
    """Refuse to commit a transaction, or to release a savepoint, that has failed, and undo it.

    SQLAlchemy considers either over when its end fails, and does not roll it back.

    Args:
        connection: Of the transaction.
        undo: Called with the connection, and the name, if the end is refused.
        *name: Of the savepoint.

    Raises:
        TransactionAborted: chained to the error that was caught.
    """
    try:
        _refuse_failed(connection)
    except TransactionAborted:
        undo(connection, *name)
        raise
