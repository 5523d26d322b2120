"""Transactions that a failed statement has ended: whoever swallows its error must not go on.

PostgreSQL answers COMMIT with ROLLBACK then, and no driver raises. SQLite may have rolled back as well,
and what follows is stored statement by statement.
"""

from __future__ import annotations

from sqlalchemy import Connection, ExceptionContext, event
from sqlalchemy.ext.asyncio import AsyncEngine

from fastapi_asyncdb.dialects import Preset
from fastapi_asyncdb.errors import TransactionAborted

_CULPRIT = "fastapi_asyncdb.aborted_by"


def watch_aborts(engine: AsyncEngine, preset: Preset) -> None:
    """Remember the error that ends a transaction, until a rollback or a savepoint undoes it."""

    def remember(context: ExceptionContext) -> None:
        connection = context.connection
        # Without a statement it was the COMMIT or ROLLBACK itself that failed: nothing was swallowed.
        if connection is None or context.statement is None or not _in_transaction(connection):
            return
        raw = connection.connection.dbapi_connection
        if raw is not None and preset.drops_transaction(raw, context.original_exception):
            connection.info.setdefault(_CULPRIT, context.original_exception)

    def refuse(connection: Connection, *statement: object) -> None:
        refuse_aborted(connection)

    def forget(connection: Connection, *savepoint: object) -> None:
        if not connection.invalidated:
            connection.info.pop(_CULPRIT, None)

    target = engine.sync_engine
    event.listen(target, "handle_error", remember)
    event.listen(target, "before_cursor_execute", refuse)
    for undone in ("rollback", "rollback_savepoint"):
        event.listen(target, undone, forget)


def _in_transaction(connection: Connection) -> bool:
    if connection.invalidated or not connection.in_transaction():
        return False
    return connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT"


def refuse_aborted(connection: Connection) -> None:
    """Refuse to go on in a transaction that is over.

    Raises:
        TransactionAborted: chained to the error that was swallowed.
    """
    # A connection that was lost has no info, and SQLAlchemy has an error of its own for it.
    culprit = None if connection.invalidated else connection.info.get(_CULPRIT)
    if culprit is not None:
        raise TransactionAborted(
            f"A statement failed ({type(culprit).__name__}), its error was caught, and the database "
            "has ended the transaction: nothing in it can be stored any more. Put what may fail into "
            "'async with db.begin_nested():', or call 'await db.rollback()' and start again."
        ) from culprit
