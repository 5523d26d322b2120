"""SQLite's transactions: how writers and readers begin, and what a failed COMMIT leaves."""

from __future__ import annotations

from sqlalchemy import Connection
from sqlalchemy.engine.interfaces import DBAPIConnection, Dialect
from sqlalchemy.pool import PoolProxiedConnection

from fastapi_asyncdb.dialects.autocommit import commits_itself
from fastapi_asyncdb.dialects.calls import Method, wrap


def begin_immediate(connection: Connection) -> None:
    """Lock the database when a transaction begins that may write."""
    # The event fires for autocommit connections too, which must not have a transaction.
    if not commits_itself(connection.get_execution_options()):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def begin_deferred(connection: Connection) -> None:
    """Begin a transaction that reads."""
    # On the driver's cursor: the reading engine would refuse BEGIN as a write.
    cursor = connection.connection.cursor()
    cursor.execute("BEGIN")
    cursor.close()


def is_idle(connection: DBAPIConnection) -> bool:
    """Return whether no transaction is open."""
    try:
        return not connection.driver_connection.in_transaction
    except ValueError:
        return False  # aiosqlite's error for a connection that is closed


def roll_back_failed_commits(dialect: Dialect) -> None:
    """End a transaction whose COMMIT fails, as other databases do by themselves.

    SQLite leaves it open, for a deferred foreign key for example, to be mended and committed again. To
    SQLAlchemy it is over: the pool would hand out the connection, and the lock would stay.
    https://sqlite.org/lang_transaction.html#immediate_constraints_and_deferred_constraints
    """

    def around(commit: Method) -> Method:
        def do_commit(dbapi_connection: PoolProxiedConnection) -> None:
            try:
                commit(dbapi_connection)
            except Exception:
                dialect.do_rollback(dbapi_connection)
                raise

        return do_commit

    wrap(dialect, "do_commit", around)
