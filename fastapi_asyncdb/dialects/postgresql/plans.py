"""Plans that the drivers keep for statements, and that a change of a table has put out of date.

A statement outside of a transaction is sent once more. A transaction is lost, and the error says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy.engine.interfaces import DBAPICursor, Dialect, ExceptionContext, ExecutionContext

from fastapi_asyncdb.concurrency import await_only
from fastapi_asyncdb.dialects.calls import steps_of
from fastapi_asyncdb.dialects.postgresql.errors import is_outdated_plan

_ADVICE = (
    "A table of this statement was changed after the connection had planned it, most likely by a "
    "migration, and the transaction is lost. The old plans are thrown away: run the transaction again "
    "from the start, as RetryRoute and run_in_transaction do"
)


def renew_plans(dialect: Dialect) -> None:
    """Send a statement once more whose plan is out of date, if no transaction is lost by it.

    Such a statement has not run.
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
        if not isinstance(error, dialect.loaded_dbapi.Error) or not is_outdated_plan(error):
            return False
        in_transaction = forget(cursor, context)
        return not in_transaction

    return may_repeat


def _forget_asyncpg(cursor: Any, context: Any) -> bool:
    """Prepare all statements anew, on every connection; return whether there is a transaction."""
    context.dialect._invalidate_schema_cache()
    cursor._invalidate_schema_cache_asof = context.dialect._invalidate_schema_cache_asof
    return bool(_driver_connection(context).is_in_transaction())


def _forget_psycopg(cursor: Any, context: Any) -> bool:
    """Drop the plans of the connection; return whether there is a transaction."""
    return bool(await_only(_driver_connection(context).forget_plans()))


def _driver_connection(context: ExecutionContext) -> Any:
    return context.root_connection.connection.driver_connection
