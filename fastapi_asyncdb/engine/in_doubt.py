"""COMMITs without an answer: their error, and the lookup of their outcome."""

from __future__ import annotations

import asyncio
from typing import cast
from weakref import ref

from sqlalchemy import Connection
from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.pool import PoolProxiedConnection

from fastapi_asyncdb.dialects import ErrorStep, Preset, preset_of
from fastapi_asyncdb.dialects.calls import steps_of
from fastapi_asyncdb.dialects.deadlines import overdue
from fastapi_asyncdb.errors import CommitOutcomeUnknown, Outcome

_FAILED_COMMIT = "fastapi_asyncdb.failed_commit"
_TRANSACTION_ID = "fastapi_asyncdb.transaction_id"

_FAILED = "The network, or the server, failed at that moment."
_OVERDUE = (
    "The server has answered nothing for longer than a statement may take "
    "(DATABASE_STATEMENT_TIMEOUT, or the transaction's own), so the connection was given up. Most "
    "likely the server stands still, or COMMIT waits for a synchronous standby or a deferred "
    "constraint."
)
_PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Seconds between two queries to a server that has not noticed yet that its client is gone."""


class CommitInterrupted(asyncio.CancelledError):
    """A cancellation that hit a COMMIT under way; the code that caused it may raise the outcome."""

    def __init__(self, outcome: CommitOutcomeUnknown) -> None:
        super().__init__()
        self.outcome = outcome


def watch_commits(engine: AsyncEngine, preset: Preset) -> None:
    """Note of a COMMIT that fails whether it was sent. Costs no round trip."""
    steps = steps_of(engine.sync_engine.dialect)
    steps.is_closed, steps.commit_failed = preset.is_closed, _note_failed_commit


def _note_failed_commit(connection: PoolProxiedConnection, error: BaseException) -> None:
    connection.info[_FAILED_COMMIT] = error


def lost_commits(preset: Preset) -> ErrorStep:
    """Return the step that raises ``CommitOutcomeUnknown`` where the connection is lost in COMMIT."""

    def explain(context: ExceptionContext) -> BaseException | None:
        connection = context.connection
        # Only a COMMIT, a ROLLBACK and a savepoint's end have no statement.
        if connection is None or context.statement is not None or connection.invalidated:
            return None
        error = context.original_exception
        if connection.info.pop(_FAILED_COMMIT, None) is not error:
            return None
        if preset.ended_before_commit(error) or not _is_lost(context):
            return None
        return _outcome(context, connection)

    return explain


def _is_lost(context: ExceptionContext) -> bool:
    error = context.original_exception
    return context.is_disconnect or isinstance(error, OSError | asyncio.CancelledError)


def _outcome(context: ExceptionContext, connection: Connection) -> BaseException:
    cause = context.original_exception
    # This connection cannot be used again, also if the driver considers it open.
    context.is_disconnect = True
    outcome = CommitOutcomeUnknown(
        "The connection was lost while COMMIT was under way, so the work is either stored or not "
        f"({type(cause).__name__}: {' '.join(str(cause).split()) or 'no answer'}). "
        f"{_OVERDUE if overdue(connection) else _FAILED} Do not repeat the work before you have looked: "
        "'await error.resolve(database)' asks PostgreSQL, if 'await remember_transaction_id(session)' "
        "came before; otherwise look for the rows.",
        cause,
        transaction_id=_transaction_id(connection),
    )
    if isinstance(cause, asyncio.CancelledError):
        return CommitInterrupted(outcome)
    return outcome


def _transaction_id(connection: Connection) -> int | None:
    transaction, number = connection.info.get(_TRANSACTION_ID, (None, None))
    return (
        number
        if transaction is not None and transaction() is connection.get_transaction()
        else None
    )


async def remember_transaction_id(session: AsyncSession) -> int | None:
    """Ask the server for the transaction's number, by which the outcome of a lost COMMIT is looked up.

    Costs one round trip, and a number, which PostgreSQL gives only to transactions that write: use it
    where a lost answer would be expensive. Valid until the transaction ends.

    Returns:
        The number, which ``CommitOutcomeUnknown.transaction_id`` will carry; ``None`` on a database
        that has none.
    """
    connection = await session.connection()
    preset = preset_of(connection.dialect)
    if preset is None or preset.transaction_numbers is None:
        return None
    number = await connection.scalar(preset.transaction_numbers.current)
    begun = cast(Connection, connection.sync_connection)
    begun.info[_TRANSACTION_ID] = (ref(begun.get_transaction()), number)
    return cast(int, number)


async def outcome_of(engine: AsyncEngine, transaction_id: int) -> Outcome:
    """Look up the outcome of a transaction; wait a little for one that is still open."""
    preset = preset_of(engine.dialect)
    numbers = None if preset is None else preset.transaction_numbers
    if numbers is None:
        return "unknown"
    status: str | None = None
    for pause in (*_PAUSES, None):
        try:
            async with engine.connect() as connection:
                status = await connection.scalar(numbers.status, {"id": str(transaction_id)})
        except DBAPIError as error:
            if numbers.is_unknown(error):
                return "unknown"
            raise
        if status != "in progress" or pause is None:
            break
        await asyncio.sleep(pause)
    return cast(Outcome, status) if status in ("committed", "aborted") else "unknown"
