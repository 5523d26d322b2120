"""Why a connection was lost, in the error that says so. Ends none itself."""

from __future__ import annotations

import logging

from sqlalchemy import event
from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine

from fastapi_asyncdb.dialects import Preset
from fastapi_asyncdb.dialects.deadlines import overdue
from fastapi_asyncdb.errors import AsyncDBError, CommitOutcomeUnknown

logger = logging.getLogger(__name__)

_OVERDUE = (
    "The server has answered nothing to a statement for longer than its statement_timeout "
    "(DATABASE_STATEMENT_TIMEOUT, or the transaction's own) lets it, so the connection was given up and "
    "the transaction is rolled back. Most likely the network, a proxy or a firewall has forgotten the "
    "connection. New ones are made by themselves: repeat the request."
)


def name_losses(engine: AsyncEngine, preset: Preset) -> None:
    """Raise an ``OperationalError`` that says why a connection was lost, where that is known."""

    def explain(context: ExceptionContext) -> BaseException | None:
        connection = context.connection
        if connection is None or connection.closed or connection.invalidated:
            return None
        if isinstance(getattr(context, "chained_exception", None), CommitOutcomeUnknown):
            return None
        if isinstance(context.original_exception, AsyncDBError):
            return None  # the library's own says more
        raw, error = connection.connection.dbapi_connection, context.original_exception
        if overdue(connection):
            words: str | None = _OVERDUE
        else:
            words = None if raw is None else preset.loss(raw, error)
        if words is None or not isinstance(error, Exception):
            return None
        logger.warning("A connection was lost. %s", words)
        # Whatever the driver has noticed so far.
        context.is_disconnect = True
        return _loss(context, error, words)

    event.listen(engine.sync_engine, "handle_error", explain)


def _loss(context: ExceptionContext, error: Exception, words: str) -> OperationalError:
    loss = OperationalError(
        context.statement,
        context.parameters,
        error,
        hide_parameters=context.engine is not None and context.engine.hide_parameters,
        connection_invalidated=True,
    )
    said = " ".join(str(error).split())
    loss.args = (f"{words} ({type(error).__name__}: {said})",)
    return loss
