"""Streams and reading sessions of a sandbox: they are refused what production refuses."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import ResourceClosedError

from fastapi_asyncdb.dialects.autocommit import commits_itself, reads_in_autocommit
from fastapi_asyncdb.dialects.calls import READS
from fastapi_asyncdb.dialects.registry import family_of
from fastapi_asyncdb.dialects.stream_cursors import CursorProxy, plain_cursor_of
from fastapi_asyncdb.engine.read_only import is_savepoint
from fastapi_asyncdb.errors import SandboxError
from fastapi_asyncdb.testing.sandbox.connection import SharedConnection

_SAVEPOINT = "asyncdb_only_reads"


class _WholeCursor(CursorProxy):
    """A cursor on the server that is read to its end at once.

    Otherwise it would use the connection at the same time as other sessions. On PostgreSQL its rows are
    gone with its transaction, as in production.

    Args:
        cursor: SQLAlchemy's adapter of the driver's cursor.
        connection: The application's.
    """

    reads_whole = True
    _OWN = CursorProxy._OWN | {"_rows", "_transaction", "description", "rowcount"}

    def __init__(self, cursor: Any, connection: Connection) -> None:
        super().__init__(cursor, connection)
        self._transaction: object = None
        self._rows: deque[Any] = deque()
        self.description: Any = None
        self.rowcount = -1

    def execute(self, *arguments: Any) -> None:
        """Execute, fetch every row, and close it: later it may be gone, with a savepoint."""
        self._transaction = self._connection.get_transaction()
        try:
            self._cursor.execute(*arguments)
            self.description, self.rowcount = self._cursor.description, self._cursor.rowcount
            if self.description:
                self._rows.extend(self._cursor.fetchall())
        finally:
            self._cursor.close()

    def close(self) -> None:
        """Forget the rows."""
        self._rows.clear()

    def fetchone(self) -> Any:
        """Return a row, or ``None``."""
        self._refuse_gone()
        return self._rows.popleft() if self._rows else None

    def fetchmany(self, size: int = 1) -> list[Any]:
        """Return some rows."""
        self._refuse_gone()
        return [self._rows.popleft() for _ in range(min(size, len(self._rows)))]

    def fetchall(self) -> list[Any]:
        """Return the other rows."""
        return self.fetchmany(len(self._rows))

    def _refuse_gone(self) -> None:
        if family_of(self._connection.dialect.name) != "postgresql":
            return
        if self._connection.get_transaction() is not self._transaction:
            raise ResourceClosedError(
                "This stream is over: PostgreSQL's cursor is gone with its transaction, which commit(), "
                "rollback() or close() has ended. Read it to its end before that."
            )


@cache
def reading_whole(context: Any) -> Any:
    """Return an execution context like this one whose streams are fetched completely."""
    create = plain_cursor_of(context)
    members = {
        "create_server_side_cursor": lambda self: _WholeCursor(create(self), self.root_connection)
    }
    return type(context.__name__, (context,), members)


def refuse_stream_in_autocommit(cursor: object, context: Any) -> None:
    """Refuse a stream for which the application's connection has no transaction.

    Raises:
        SandboxError: PostgreSQL would refuse it.
    """
    if not _is_stream(cursor) or family_of(context.dialect.name) != "postgresql":
        return
    if commits_itself(context.execution_options):
        raise SandboxError(
            "A stream was opened in autocommit, and PostgreSQL has cursors inside of transactions only: "
            "in production this fails. Use database.read_session() or database.read_engine, whose "
            "streams have a transaction, or leave AUTOCOMMIT out."
        )


def refuse_savepoint_in_autocommit(connection: Connection) -> None:
    """Refuse a savepoint for which the application's connection has no transaction.

    Raises:
        SandboxError: the server would refuse it, or its release.
    """
    if family_of(connection.dialect.name) == "sqlite":
        return
    if commits_itself(connection.get_execution_options()):
        raise SandboxError(
            "begin_nested() was called in autocommit, and servers have savepoints inside of "
            "transactions only: in production this fails. Leave AUTOCOMMIT out."
        )


@contextmanager
def refusing_writes(
    shared: SharedConnection, cursor: object, statement: str, context: Any
) -> Iterator[None]:
    """Let PostgreSQL refuse the writes of functions, where production has a read-only transaction.

    These are snapshots, and the streams of sessions in autocommit. The end of the savepoint ends the
    setting: https://www.postgresql.org/docs/current/sql-set-transaction.html

    Args:
        shared: The connection.
        cursor: Of the statement.
        statement: What runs in the block.
        context: SQLAlchemy's, of the statement.
    """
    if not _is_read_only(shared, cursor, statement, context.execution_options):
        yield
        return
    shared.run(f"SAVEPOINT {_SAVEPOINT}")
    shared.run("SET LOCAL transaction_read_only = on")
    try:
        yield
    except Exception:
        with suppress(Exception):  # the error of the statement matters more
            shared.run(f"ROLLBACK TO SAVEPOINT {_SAVEPOINT}")
            shared.run(f"RELEASE SAVEPOINT {_SAVEPOINT}")
        raise
    # A cancelled statement is undone with the savepoint around it.
    shared.run(f"RELEASE SAVEPOINT {_SAVEPOINT}")


def _is_read_only(shared: SharedConnection, cursor: object, statement: str, options: Any) -> bool:
    if (
        family_of(shared.dialect.name) != "postgresql"
        or not options.get(READS)
        or is_savepoint(statement)
    ):
        return False
    return not reads_in_autocommit(options) or _is_stream(cursor)


def _is_stream(cursor: object) -> bool:
    # Another cursor may be around it.
    return getattr(cursor, "reads_whole", False)
