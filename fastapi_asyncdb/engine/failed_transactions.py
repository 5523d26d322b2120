"""Transactions that a failed statement has ended: whoever swallows its error must not go on.

PostgreSQL answers COMMIT with ROLLBACK then, and no driver raises. SQLite may have rolled back as well,
and what follows is stored statement by statement.
"""

from __future__ import annotations

from sqlalchemy import Connection, ExceptionContext, event
from sqlalchemy.engine.interfaces import Dialect, ExecutionContext
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import PoolProxiedConnection

from fastapi_asyncdb.dialects import Preset
from fastapi_asyncdb.dialects.calls import before_each_statement, commits_itself, info_of
from fastapi_asyncdb.errors import AsyncDBError, TransactionAborted

_CULPRIT = "fastapi_asyncdb.aborted_by"


def watch_aborts(engine: AsyncEngine, preset: Preset) -> None:
    """Remember the error that ends a transaction, until a rollback or a savepoint undoes it."""

    def remember(context: ExceptionContext) -> None:
        connection = context.connection
        # Without a statement it was the COMMIT or ROLLBACK itself that failed: nothing was swallowed.
        if connection is None or context.statement is None or not _in_transaction(connection):
            return
        if isinstance(context.original_exception, AsyncDBError):
            return  # refused by the library: the database has not seen it
        raw = connection.connection.dbapi_connection
        if raw is not None and preset.drops_transaction(raw, context.original_exception):
            connection.info.setdefault(_CULPRIT, context.original_exception)

    event.listen(engine.sync_engine, "handle_error", remember)
    before_each_statement(engine, _refuse)
    _watch_rollbacks(engine.sync_engine.dialect)


def _refuse(cursor: object, statement: str, *rest: ExecutionContext) -> None:
    # The connection has just made a cursor, so it is not lost. In one step, for each statement.
    connection = rest[-1].root_connection
    try:
        aborted = _CULPRIT in connection.info
    except NotImplementedError:
        return  # see info_of()
    if aborted:
        refuse_aborted(connection)


def _watch_rollbacks(dialect: Dialect) -> None:
    # In the dialect's own methods, since one listener for an engine's events makes SQLAlchemy look
    # for listeners at each step of each statement.
    rollback, rollback_to_savepoint = dialect.do_rollback, dialect.do_rollback_to_savepoint

    def do_rollback(dbapi_connection: PoolProxiedConnection) -> None:
        forget_abort(dbapi_connection)
        rollback(dbapi_connection)

    def do_rollback_to_savepoint(connection: Connection, name: str) -> None:
        # First, since its statement would be refused like any other.
        forget_abort(connection)
        rollback_to_savepoint(connection, name)

    dialect.do_rollback = do_rollback  # type: ignore[method-assign]
    dialect.do_rollback_to_savepoint = do_rollback_to_savepoint  # type: ignore[method-assign]


def forget_abort(connection: Connection | PoolProxiedConnection) -> None:
    """Note that what a failed statement has ended is undone: the connection may be used again."""
    info_of(connection).pop(_CULPRIT, None)


def _in_transaction(connection: Connection) -> bool:
    if connection.invalidated or not connection.in_transaction():
        return False
    return not commits_itself(connection.get_execution_options())


def refuse_aborted(connection: Connection) -> None:
    """Refuse to go on in a transaction that is over.

    Raises:
        TransactionAborted: chained to the error that was swallowed.
    """
    # A connection that was lost has no info, and SQLAlchemy has an error of its own for it.
    culprit = None if connection.invalidated else info_of(connection).get(_CULPRIT)
    if culprit is not None:
        raise TransactionAborted(
            f"A statement failed ({type(culprit).__name__}), its error was caught, and the database "
            "has ended the transaction: nothing in it can be stored any more. Put what may fail into "
            "'async with db.begin_nested():', or call 'await db.rollback()' and start again."
        ) from culprit
