"""Plans that the drivers keep for statements, and that a change of a table or type has put out of date.

A statement outside of a transaction is sent once more, also after a deadlock with the migration. A
transaction is lost, and the error says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy.engine.interfaces import DBAPICursor, Dialect, ExceptionContext, ExecutionContext

from fastapi_asyncdb.concurrency import await_only
from fastapi_asyncdb.dialects.autocommit import reads_in_autocommit
from fastapi_asyncdb.dialects.calls import steps_of
from fastapi_asyncdb.dialects.postgresql.errors import is_deadlock, is_outdated_plan
from fastapi_asyncdb.dialects.stream_cursors import StreamCursor

# libpq's PQTRANS_IDLE: no transaction.
_IDLE = 0
_ADVICE = (
    "A table or type of this statement was changed after the connection had planned it, most likely by "
    "a migration, and the transaction is lost. The old plans are thrown away: run the transaction again "
    "from the start, as RetryRoute and run_in_transaction do"
)


def renew_plans(dialect: Dialect) -> None:
    """Send a statement once more that met a migration, if no transaction is lost by it.

    Such a statement has not run, or only reads.
    """
    steps_of(dialect).may_repeat = _renewing(dialect)


def explain_outdated_plan(context: ExceptionContext) -> None:
    """Add to the error what has happened to the transaction, and what to do."""
    wrapped = context.sqlalchemy_exception
    if wrapped is not None and is_outdated_plan(context.original_exception):
        wrapped.add_detail(_ADVICE)


def _renewing(dialect: Dialect) -> Callable[[Exception, DBAPICursor, ExecutionContext], bool]:
    forget = _forget_psycopg if dialect.driver == "psycopg" else _forget_asyncpg

    def may_repeat(error: Exception, cursor: DBAPICursor, context: ExecutionContext) -> bool:
        if not isinstance(error, dialect.loaded_dbapi.Error):
            return False
        if is_outdated_plan(error):
            forget(cursor, context)
        elif not (is_deadlock(error) and reads_in_autocommit(context.execution_options)):
            return False
        return not _is_in_transaction(context) or _leave_snapshot(cursor)

    return may_repeat


def _leave_snapshot(cursor: object) -> bool:
    """End the transaction if it is that of a stream, which has no other statement."""
    return isinstance(cursor, StreamCursor) and cursor.leave_snapshot()


def _forget_asyncpg(cursor: Any, context: Any) -> None:
    """Prepare all statements anew, on every connection."""
    context.dialect._invalidate_schema_cache()
    cursor._invalidate_schema_cache_asof = context.dialect._invalidate_schema_cache_asof


def _forget_psycopg(cursor: Any, context: Any) -> None:
    """Drop the plans of the connection."""
    await_only(_driver_connection(context).forget_plans())


def _is_in_transaction(context: ExecutionContext) -> bool:
    driver = _driver_connection(context)
    if hasattr(driver, "pgconn"):
        return bool(driver.pgconn.transaction_status != _IDLE)
    return bool(driver.is_in_transaction())


def _driver_connection(context: ExecutionContext) -> Any:
    return context.root_connection.connection.driver_connection
