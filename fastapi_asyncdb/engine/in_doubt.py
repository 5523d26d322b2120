"""COMMITs whose answer never came: how they are told from refused ones, and what became of them."""

from __future__ import annotations

import asyncio
from typing import cast
from weakref import ref

from sqlalchemy import Connection, event, text
from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.pool import PoolProxiedConnection

from fastapi_asyncdb.errors import CommitOutcomeUnknown, Outcome

_FAILED_COMMIT = "fastapi_asyncdb.failed_commit"
_TRANSACTION_ID = "fastapi_asyncdb.transaction_id"

# The server ended the connection because it waited for a command. So it never saw the COMMIT.
# https://www.postgresql.org/docs/current/errcodes-appendix.html
_IDLE_IN_TRANSACTION = "25P03"
# undefined_function, and invalid_parameter_value: a number that this server has not used yet.
_KNOWS_NOTHING = ("42883", "22023")
# Seconds to wait for a server that has not noticed yet that the client is gone.
_PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8)


class CommitInterrupted(asyncio.CancelledError):
    """A cancellation that hit a COMMIT under way; whoever caused it may raise the outcome instead."""

    def __init__(self, outcome: CommitOutcomeUnknown) -> None:
        super().__init__()
        self.outcome = outcome


def watch_commits(engine: AsyncEngine) -> None:
    """Raise ``CommitOutcomeUnknown`` where the connection is lost during COMMIT. Costs no round trip."""
    dialect = engine.sync_engine.dialect
    commit = dialect.do_commit

    # In the dialect's own method, since one listener for an engine's events makes SQLAlchemy look
    # for listeners at each step of each statement.
    def do_commit(dbapi_connection: PoolProxiedConnection) -> None:
        # asyncpg notices a lost connection while it is idle, and then sends no COMMIT.
        is_closed = getattr(dbapi_connection.driver_connection, "is_closed", None)
        sent = not (is_closed and is_closed())
        try:
            commit(dbapi_connection)
        except BaseException as error:
            if sent:
                dbapi_connection.info[_FAILED_COMMIT] = error
            raise

    dialect.do_commit = do_commit  # type: ignore[method-assign]
    event.listen(engine.sync_engine, "handle_error", _lost_commit)


def _lost_commit(context: ExceptionContext) -> BaseException | None:
    connection = context.connection
    # Only a COMMIT, a ROLLBACK and a savepoint's end have no statement.
    if connection is None or context.statement is not None or connection.invalidated:
        return None
    cause = context.original_exception
    if connection.info.pop(_FAILED_COMMIT, None) is not cause or not _is_lost(context):
        return None
    # Whatever the driver thinks, this connection cannot be used again.
    context.is_disconnect = True
    outcome = CommitOutcomeUnknown(
        "The connection was lost while COMMIT was under way, so the work is either stored or not "
        f"({type(cause).__name__}: {' '.join(str(cause).split()) or 'no answer'}). The network, or "
        "the server, failed at that moment. Do not repeat the work before you have looked: 'await "
        "error.resolve(database)' asks PostgreSQL, if 'await remember_transaction_id(session)' came "
        "before; otherwise look for the rows.",
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


def _is_lost(context: ExceptionContext) -> bool:
    error = context.original_exception
    state = getattr(error, "sqlstate", None)
    if state == _IDLE_IN_TRANSACTION:
        return False
    return context.is_disconnect or isinstance(error, OSError | asyncio.CancelledError)


async def remember_transaction_id(session: AsyncSession) -> int | None:
    """Ask the server for the transaction's number, so that a commit in doubt can be resolved.

    Costs one round trip, and a number, which PostgreSQL gives only to transactions that write: use it
    where a lost answer would be expensive. Valid until the transaction ends.

    Returns:
        The number, which ``CommitOutcomeUnknown.transaction_id`` will carry; ``None`` on a database
        that has none.
    """
    connection = await session.connection()
    if connection.dialect.name != "postgresql":
        return None
    number = await connection.scalar(
        text("SELECT CAST(CAST(pg_current_xact_id() AS text) AS bigint)")
    )
    begun = cast(Connection, connection.sync_connection)
    begun.info[_TRANSACTION_ID] = (ref(begun.get_transaction()), number)
    return cast(int, number)


async def outcome_of(engine: AsyncEngine, transaction_id: int) -> Outcome:
    """Ask PostgreSQL what became of a transaction; wait a little for one that is still open.

    https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-PG-SNAPSHOT
    """
    if engine.dialect.name != "postgresql":
        return "unknown"
    query = text("SELECT pg_xact_status(CAST(CAST(:id AS text) AS xid8))")
    status: str | None = None
    for pause in (*_PAUSES, None):
        try:
            async with engine.connect() as connection:
                status = await connection.scalar(query, {"id": str(transaction_id)})
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) in _KNOWS_NOTHING:
                return "unknown"
            raise
        if status != "in progress" or pause is None:
            break
        await asyncio.sleep(pause)
    return cast(Outcome, status) if status in ("committed", "aborted") else "unknown"
