"""Plans that the drivers keep for statements, and that a change of a table has put out of date.

Where the statement was alone it is sent once more; where a transaction is lost, the error says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine.interfaces import Dialect, ExceptionContext, ExecutionContext
from sqlalchemy.ext.asyncio import AsyncEngine

from fastapi_asyncdb.concurrency import await_only
from fastapi_asyncdb.dialects.calls import EXECUTIONS
from fastapi_asyncdb.tracebacks import causes

# The server's function that reports it; the words may be in the server's language, and the SQLSTATE,
# feature_not_supported, says many other things.
_REVALIDATION = "RevalidateCachedQuery"
_ADVICE = (
    "A table of this statement was changed after the connection had planned it, most likely by a "
    "migration, and the transaction is lost. The old plans are thrown away: run the transaction again "
    "from the start, as RetryRoute and run_in_transaction do"
)


def renew_plans(engine: AsyncEngine) -> None:
    """Send a statement once more whose plan is out of date, if no transaction is lost by it.

    Such a statement has not run. A statement that succeeds pays for one more call.
    """
    dialect = engine.sync_engine.dialect
    for name in EXECUTIONS:
        # In the dialect's own methods, since a listener would cost each statement more.
        setattr(dialect, name, _repeating(dialect, getattr(dialect, name)))
    event.listen(engine.sync_engine, "handle_error", _explain)


def is_outdated_plan(error: BaseException) -> bool:
    """Tell whether the statement failed because a plan of it is out of date."""
    return any(_reporter(cause) == _REVALIDATION for cause in causes(error))


def _reporter(error: BaseException) -> object:
    # asyncpg has the field on the error, psycopg on its "diag".
    return getattr(error, "server_source_function", None) or getattr(
        getattr(error, "diag", None), "source_function", None
    )


def _repeating(dialect: Dialect, execute: Callable[..., None]) -> Callable[..., None]:
    forget = _forget_psycopg if dialect.driver == "psycopg" else _forget_asyncpg

    def run(*arguments: Any) -> None:
        try:
            execute(*arguments)
        except dialect.loaded_dbapi.Error as error:
            if not is_outdated_plan(error) or forget(arguments[0], arguments[-1]):
                raise
        else:
            return
        execute(*arguments)

    return run


def _forget_asyncpg(cursor: Any, context: Any) -> bool:
    """Prepare everything anew, on every connection; tell whether a transaction is lost."""
    context.dialect._invalidate_schema_cache()
    cursor._invalidate_schema_cache_asof = context.dialect._invalidate_schema_cache_asof
    return bool(_driver_connection(context).is_in_transaction())


def _forget_psycopg(cursor: Any, context: Any) -> bool:
    """Drop the plans of the connection; tell likewise."""
    return bool(await_only(_driver_connection(context).forget_plans()))


def _driver_connection(context: ExecutionContext) -> Any:
    return context.root_connection.connection.driver_connection


def _explain(context: ExceptionContext) -> None:
    wrapped = context.sqlalchemy_exception
    if wrapped is not None and is_outdated_plan(context.original_exception):
        wrapped.add_detail(_ADVICE)
