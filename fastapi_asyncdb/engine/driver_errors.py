"""Errors of the drivers: the one listener for them, and the order of its steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sqlalchemy import event
from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.exc import DataError
from sqlalchemy.ext.asyncio import AsyncEngine

from fastapi_asyncdb.dialects import ErrorStep, Preset
from fastapi_asyncdb.engine.connect_errors import connect_failures
from fastapi_asyncdb.engine.failed_transactions import failed_statements
from fastapi_asyncdb.engine.in_doubt import lost_commits
from fastapi_asyncdb.engine.lost_connections import losses
from fastapi_asyncdb.pool.server_limit import Refusal


def explain_errors(
    engine: AsyncEngine,
    preset: Preset,
    explain: Callable[[BaseException], Refusal],
    *,
    read_only: bool,
) -> None:
    """Let an error of the driver say what has happened to the transaction and its connection.

    The first step that returns an error decides which one is raised; an error that no step knows is
    SQLAlchemy's. A statement that succeeds does not come here.

    Args:
        engine: The engine.
        preset: What its database needs.
        explain: Returns why a connection could not be made.
        read_only: Whether the engine has no transactions.
    """
    transactions = [failed_statements(preset)] if not read_only else []
    commits = [lost_commits(preset)] if not read_only else []
    steps = [
        *transactions,
        *preset.error_steps(),
        connect_failures(explain),
        # A COMMIT without an answer, before other losses: its outcome matters more than the cause.
        *commits,
        losses(preset),
        _unsendable_value,
    ]
    event.listen(engine.sync_engine, "handle_error", _first_answer_of(steps))


def _unsendable_value(context: ExceptionContext) -> BaseException | None:
    """Return SQLAlchemy's error for a value that a driver cannot send, where the driver raises Python's.

    An integer beyond 64 bits, or a lone surrogate: aiosqlite and psycopg raise what Python raises.
    """
    error = context.original_exception
    if context.statement is None or not isinstance(error, OverflowError | UnicodeError):
        return None
    if context.sqlalchemy_exception is not None:
        return None
    hides = context.engine is not None and context.engine.hide_parameters
    return DataError(context.statement, context.parameters, error, hide_parameters=hides)


def _first_answer_of(steps: Iterable[ErrorStep]) -> ErrorStep:
    def first_answer(context: ExceptionContext) -> BaseException | None:
        for step in steps:
            error = step(context)
            if error is not None:
                return error
        return None

    return first_answer
