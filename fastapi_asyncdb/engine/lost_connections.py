"""Connections that were lost during a statement: the error says why."""

from __future__ import annotations

import logging

from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.exc import OperationalError

from fastapi_asyncdb.dialects import ErrorStep, Preset
from fastapi_asyncdb.dialects.deadlines import overdue
from fastapi_asyncdb.errors import AsyncDBError

logger = logging.getLogger(__name__)

_OVERDUE = (
    "The server has answered nothing to a statement for longer than its statement_timeout "
    "(DATABASE_STATEMENT_TIMEOUT, or the transaction's own) lets it, so the connection was given up and "
    "the transaction is rolled back. Most likely the network, a proxy or a firewall has forgotten the "
    "connection. New ones are made by themselves: repeat the request."
)


def losses(preset: Preset) -> ErrorStep:
    """Return the step that raises an ``OperationalError`` with the cause of a loss, if it is known."""

    def explain(context: ExceptionContext) -> BaseException | None:
        connection, error = context.connection, context.original_exception
        if connection is None or connection.closed or connection.invalidated:
            return None
        if isinstance(error, AsyncDBError) or not isinstance(error, Exception):
            return None  # the library's own says more
        raw = connection.connection.dbapi_connection
        if overdue(connection):
            words: str | None = _OVERDUE
        else:
            words = None if raw is None else preset.loss(raw, error)
        if words is None:
            return None
        logger.warning("A connection was lost. %s", words)
        # Whatever the driver has noticed so far.
        context.is_disconnect = True
        return _loss(context, error, words)

    return explain


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
