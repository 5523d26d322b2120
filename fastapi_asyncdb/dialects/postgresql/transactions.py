"""Transactions of PostgreSQL: snapshots for streams, and what psycopg's next BEGIN says."""

from __future__ import annotations

from typing import Any, cast

from sqlalchemy import text
from sqlalchemy.engine.interfaces import DBAPIConnection, Dialect
from sqlalchemy.pool import ConnectionPoolEntry

from fastapi_asyncdb.dialects.base import TransactionNumbers
from fastapi_asyncdb.dialects.postgresql.errors import knows_no_transaction
from fastapi_asyncdb.dialects.reading_streams import Snapshot

# https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-PG-SNAPSHOT
NUMBERS = TransactionNumbers(
    current=text("SELECT CAST(CAST(pg_current_xact_id() AS text) AS bigint)"),
    status=text("SELECT pg_xact_status(CAST(CAST(:id AS text) AS xid8))"),
    is_unknown=knows_no_transaction,
)


class ReadOnlyTransaction(Snapshot):
    """A transaction that sees one state and refuses to write.

    The driver says so in BEGIN, before the first cursor. Nothing of it outlives the transaction.
    https://www.postgresql.org/docs/current/sql-begin.html
    """

    def begin(self, dialect: Dialect, connection: DBAPIConnection) -> None:
        """Set what the driver's next BEGIN says."""
        cast(Any, dialect).set_readonly(connection, value=True)
        dialect.set_isolation_level(connection, "REPEATABLE READ")

    def end(self, connection: DBAPIConnection) -> None:
        """Commit."""
        # Past the dialect: nothing was written, and so no outcome is unknown.
        connection.commit()

    def leave(self, dialect: Dialect, connection: DBAPIConnection) -> None:
        """Set the driver back to autocommit: each statement is a transaction of its own."""
        cast(Any, dialect).set_readonly(connection, value=False)
        dialect.set_isolation_level(connection, "AUTOCOMMIT")


def forget_read_only(connection: DBAPIConnection | None, record: ConnectionPoolEntry) -> None:
    """Leave it to the server again whether psycopg's transactions only read, when one is checked in.

    SQLAlchemy puts back READ WRITE, which psycopg sends with each BEGIN from then on: that overrides
    ``default_transaction_read_only``, and a standby refuses it.
    """
    adapted = cast(Any, connection)
    if adapted is None or adapted.driver_connection.closed:
        return
    if adapted.driver_connection.read_only is not None:
        adapted.set_read_only(None)
    if adapted.driver_connection.deferrable is not None:
        adapted.set_deferrable(None)
