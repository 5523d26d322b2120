"""``sandbox()``: one transaction for all sessions of a ``Database``, rolled back at the end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar, cast

from sqlalchemy import text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from fastapi_asyncdb.database import Database
from fastapi_asyncdb.dialects.registry import family_of
from fastapi_asyncdb.engine.seam import refusing_connections, runs_of, session_on
from fastapi_asyncdb.errors import SandboxError
from fastapi_asyncdb.finishing import finish
from fastapi_asyncdb.testing.sandbox.connection import SharedConnection
from fastapi_asyncdb.testing.sandbox.engines import SandboxEngines, make_engines
from fastapi_asyncdb.testing.sandbox.mysql import FirstSavepoint, is_mysql

S = TypeVar("S", bound=AsyncSession)

_ENDED = (
    "The transaction was over before the sandbox was, and what was written may be stored: most likely "
    "COMMIT was sent on the driver's own connection, which the sandbox cannot see. Use the session's "
    "commit(), or test this with isolated_database."
)
_OUTSIDE = (
    "A session or a connection from before this sandbox, or of another event loop, was used while it is "
    "open, and would commit for good. Open sessions inside, take engines from database.engine, and run "
    "application and test on one loop."
)


@asynccontextmanager
async def sandbox(database: Database[S], *, turn_timeout: float = 10.0) -> AsyncIterator[S]:
    """Run all sessions of a ``Database`` in one transaction, and roll it back at the end.

    This includes requests, jobs, hooks, ``run_in_transaction``, and code that uses the engines: a commit
    becomes a savepoint, a rollback undoes its own work, ``on_commit`` hooks run at the application's
    commit, deferred constraints are checked there. Nothing is stored, except that sequences and numbers
    of ``AUTO_INCREMENT`` advance. On MySQL, statements that change the schema are refused: they commit.

    The sessions share one connection, one after the other: each has it from its first statement to the
    end of its transaction. A session that is opened inside of another one's transaction shares the
    connection with it. Isolation levels have no effect: for those there is ``isolated_database``.

    Args:
        database: It is started, unless it runs already.
        turn_timeout: Seconds that a session waits for the connection before it gets a ``PoolTimeout``.

    Yields:
        A session for the test itself. It does not wait, and sees what the application has flushed; the
        application sees what it commits.

    Raises:
        DatabaseUnavailable: there is no connection to start with.
        SandboxError: at the end of a block that has succeeded: a query still ran, and was cancelled; the
            connection was lost; or the transaction was over already.
    """
    runs = runs_of(database)
    async with database, runs.required().write.connect() as root:
        first = await _begin(root)
        raw = (await root.get_raw_connection()).dbapi_connection
        shared = SharedConnection(cast(DBAPIConnection, raw), root.sync_engine.dialect)
        around = runs.required()
        engines, own = make_engines(around, shared, turn_timeout)
        session = session_on(database, own)
        try:
            with refusing_connections(database, SandboxError(_OUTSIDE)), runs.replaced(engines):
                yield session
        finally:
            inner = runs.required()
            if inner is not around and isinstance(inner, SandboxEngines):
                inner.shared.mark_broken("the sandbox around it has ended before it")
            trouble = await finish(_end(root, shared, session, first))
        if trouble is not None:
            raise SandboxError(trouble)


async def _begin(root: AsyncConnection) -> FirstSavepoint | None:
    """Begin the transaction, and return its first savepoint on MySQL."""
    await root.begin()
    if is_mysql(root.dialect):
        first = FirstSavepoint()
        await root.run_sync(first.set)
        return first
    if family_of(root.dialect.name) == "postgresql":
        # A test that stands still in a debugger keeps its transaction.
        await root.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
    return None


async def _end(
    root: AsyncConnection,
    shared: SharedConnection,
    session: AsyncSession,
    first: FirstSavepoint | None,
) -> str | None:
    """Roll back, and return what went wrong without an error, if anything."""
    broken = shared.broken
    ended = shared.mark_broken_if_ended("it has ended")
    cancelled = await shared.end()
    if first is not None and not (broken or cancelled or ended):
        ended = await root.run_sync(first.is_gone)
    if broken or cancelled or shared.tainted:
        await root.invalidate()
    await session.close()
    try:
        await root.rollback()
    except DBAPIError as error:
        await root.invalidate()
        return (
            f"The sandbox's connection was lost ({error.orig}), most likely because the server ended "
            "it. Nothing is stored. Test lost connections with isolated_database."
        )
    if cancelled:
        return (
            f"A query still ran when the sandbox ended: {cancelled}. It was cut off, and nothing is "
            "stored. Await background work before the test ends."
        )
    return _ENDED if ended else None
