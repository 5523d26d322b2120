"""Transactions of MySQL and MariaDB: autocommit is switched when it differs, options precede BEGIN.

A transaction begins with its first statement while autocommit is off, so BEGIN is never sent. A
connection keeps the state that it had, and the pool takes the one that was used last: reads after reads
and writes after writes cost no round trip.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

from sqlalchemy import Connection
from sqlalchemy.engine.interfaces import DBAPIConnection, Dialect
from sqlalchemy.pool import PoolProxiedConnection

from fastapi_asyncdb.dialects.calls import wrap
from fastapi_asyncdb.dialects.mysql.server_settings import ISOLATION_LEVEL, assignment, timeouts
from fastapi_asyncdb.dialects.mysql.thread import ServerThread
from fastapi_asyncdb.dialects.reading_streams import Snapshot
from fastapi_asyncdb.options import TransactionOptions

# https://dev.mysql.com/doc/dev/mysql-server/latest/mysql__com_8h.html
IN_TRANSACTION = 1


def thread_of(connection: DBAPIConnection) -> ServerThread:
    """Return what is known of the server's side of a connection."""
    return cast(ServerThread, cast(Any, connection).driver_connection.server_thread)


def switch_autocommit_when_needed(dialect: Dialect) -> None:
    """Set autocommit when a transaction begins, instead of when a connection is checked in."""
    wrap(dialect, "do_begin", lambda own: _begin)
    wrap(dialect, "set_isolation_level", lambda own: _set_isolation_level)


def _begin(connection: PoolProxiedConnection) -> None:
    raw = cast(Any, connection.dbapi_connection)
    driver = raw.driver_connection
    if not driver.server_thread.in_autocommit:
        driver.in_transaction, driver.has_changed = True, False
        if driver.get_autocommit():
            raw.autocommit(False)  # noqa: FBT003 - the driver's own


def _set_isolation_level(connection: DBAPIConnection, level: str) -> None:
    raw = cast(Any, connection)
    driver = raw.driver_connection
    thread = driver.server_thread
    thread.in_autocommit = level == "AUTOCOMMIT"
    if thread.in_autocommit:
        if not driver.get_autocommit():
            raw.autocommit(True)  # noqa: FBT003 - the driver's own
    elif level != (thread.isolation_level or ISOLATION_LEVEL):
        execute(connection, f"SET SESSION TRANSACTION ISOLATION LEVEL {level}")
        thread.isolation_level = level


def note_end(connection: PoolProxiedConnection) -> None:
    """Note that the server has answered a COMMIT or ROLLBACK: nothing is open any more."""
    cast(Any, connection.dbapi_connection).driver_connection.in_transaction = False


def is_idle(connection: DBAPIConnection) -> bool:
    """Return whether no transaction is open, neither SQLAlchemy's nor one that a statement began."""
    driver: Any = connection.driver_connection
    return not (driver.in_transaction or driver.server_status & IN_TRANSACTION)


class ConsistentRead(Snapshot):
    """A transaction that sees one state and refuses to write.

    https://dev.mysql.com/doc/refman/8.4/en/commit.html
    """

    def begin(self, dialect: Dialect, connection: DBAPIConnection) -> None:
        """Begin it before the first stream, on a connection in autocommit."""
        execute(connection, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        execute(connection, "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")

    def end(self, connection: DBAPIConnection) -> None:
        """Commit; autocommit is on again."""
        # Past the dialect: nothing was written, and so no outcome is unknown.
        connection.commit()


def begin_with(options: TransactionOptions) -> Callable[[Connection], None]:
    """Return a listener that says what the next transaction is like, and sets its timeouts.

    https://dev.mysql.com/doc/refman/8.4/en/set-transaction.html
    """
    described = [f"ISOLATION LEVEL {options.isolation_level}"] if options.isolation_level else []
    if options.read_only:
        described.append("READ ONLY")
    statement = f"SET TRANSACTION {', '.join(described)}" if described else None

    def begin(connection: Connection) -> None:
        raw = cast(DBAPIConnection, connection.connection.dbapi_connection)
        connection.dialect.do_begin(connection.connection)
        if statement is not None:
            execute(raw, statement)
        if options.timeouts:
            _set_until_checkin(connection, raw, options.timeouts)

    return begin


def _set_until_checkin(
    connection: Connection, raw: DBAPIConnection, seconds: dict[str, float]
) -> None:
    thread = thread_of(raw)
    values = timeouts(seconds, mariadb=thread.mariadb)
    execute(raw, assignment(values))
    # DEFAULT is the server's: https://dev.mysql.com/doc/refman/8.4/en/set-variable.html
    before = {name: thread.timeouts.get(name, "DEFAULT") for name in values}
    record: Any = connection.connection._connection_record
    put_back = partial(_put_back, statement=assignment(before))
    if not any(getattr(each, "func", None) is _put_back for each in record.finalize_callback):
        record.finalize_callback.append(put_back)


def _put_back(connection: DBAPIConnection, *, statement: str) -> None:
    execute(connection, statement)


def execute(connection: DBAPIConnection, statement: str) -> tuple[Any, ...] | None:
    """Run a statement of the library's own, past SQLAlchemy; return its first row."""
    cursor = connection.cursor()
    try:
        cursor.execute(statement)
        row: tuple[Any, ...] | None = cursor.fetchone() if cursor.description else None
        return row
    finally:
        cursor.close()
