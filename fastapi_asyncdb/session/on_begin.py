"""The user's ``on_begin``, which runs first in each transaction."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

from sqlalchemy import Connection
from sqlalchemy.engine.interfaces import AdaptedConnection
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb.errors import ConfigurationError, TransactionAborted
from fastapi_asyncdb.options import TransactionOptions

S = TypeVar("S", bound=AsyncSession)

OnBegin = Callable[[S, Any], Awaitable[None]]
"""``async def on_begin(session, connection)``; the connection is the request's, or ``None``."""


def refuse_autocommit(on_begin: object, options: TransactionOptions) -> None:
    """Refuse autocommit reads of a ``Database`` that has an ``on_begin``.

    Raises:
        ConfigurationError: there is no transaction that it could begin.
    """
    if on_begin is not None and options.autocommit:
        raise ConfigurationError(
            "This Database has an on_begin, and autocommit reads have no transaction that it could "
            "begin. Use database.get_snapshot_db instead of get_read_db, or add "
            'isolation_level="REPEATABLE READ" to read_only=True.'
        )


def first_step(
    on_begin: OnBegin[S], new_session: Callable[..., S], connection: object
) -> Callable[[Connection], None]:
    """Make the step that awaits ``on_begin`` on a database connection that has just begun.

    The session whose transaction begins is busy beginning it. So the callable gets a session of its
    own on the same connection, whose statements begin nothing and cannot call it again.

    Args:
        on_begin: The user's callable.
        new_session: Makes the session that it gets.
        connection: The request's ``HTTPConnection``, or ``None``.
    """

    async def run(begun: Connection) -> None:
        # Its commit and its close leave the transaction to the session that began it:
        # https://docs.sqlalchemy.org/en/20/orm/session_api.html#sqlalchemy.orm.Session.params.join_transaction_mode
        session = new_session(join_transaction_mode="rollback_only")
        session.sync_session.bind = begun
        async with session:
            await on_begin(session, connection)
            await session.flush()

    def step(begun: Connection) -> None:
        transaction = begun.get_transaction()
        # The way from an event back to the event loop:
        # https://docs.sqlalchemy.org/en/20/orm/extensions/asyncio.html#using-awaitable-only-driver-methods-in-connection-pool-and-other-events
        driver = cast(AdaptedConnection, begun.connection.dbapi_connection)
        driver.run_async(lambda _: run(begun))
        if transaction is None or not transaction.is_active:
            raise TransactionAborted(
                "on_begin has rolled back the transaction that it was called for, so nothing it set "
                "is there for the request's statements. Let it raise, if they must not run."
            )

    return step
