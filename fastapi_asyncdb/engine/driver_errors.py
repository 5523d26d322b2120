"""Errors of the drivers: the one listener for them, and the order of its steps."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import event
from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.ext.asyncio import AsyncEngine

from fastapi_asyncdb.dialects import ErrorStep, Preset, Target
from fastapi_asyncdb.engine.connect_errors import connect_failures
from fastapi_asyncdb.engine.failed_transactions import failed_statements
from fastapi_asyncdb.engine.in_doubt import lost_commits
from fastapi_asyncdb.engine.lost_connections import losses


def explain_errors(
    engine: AsyncEngine, target: Target, preset: Preset, *, seconds: float, read_only: bool
) -> None:
    """Let an error of the driver say what has happened to the transaction and its connection.

    The first step that returns an error decides which one is raised; an error that no step knows is
    SQLAlchemy's. A statement that succeeds does not come here.

    Args:
        engine: The engine.
        target: Where it connects to.
        preset: What its database needs.
        seconds: The time that the server has to let a connection in.
        read_only: Whether the engine has no transactions.
    """
    transactions = [failed_statements(preset)] if not read_only else []
    commits = [lost_commits(preset)] if not read_only else []
    steps = [
        *transactions,
        *preset.error_steps(),
        connect_failures(target, preset, seconds),
        # A COMMIT without an answer, before other losses: its outcome matters more than the cause.
        *commits,
        losses(preset),
    ]
    event.listen(engine.sync_engine, "handle_error", _first_answer_of(steps))


def _first_answer_of(steps: Iterable[ErrorStep]) -> ErrorStep:
    def first_answer(context: ExceptionContext) -> BaseException | None:
        for step in steps:
            error = step(context)
            if error is not None:
                return error
        return None

    return first_answer
