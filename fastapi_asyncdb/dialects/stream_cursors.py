"""Cursors on the server for reading connections: each is a stream that takes part in the snapshot."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, ClassVar, cast

from sqlalchemy import Connection
from sqlalchemy.engine.interfaces import DBAPICursor, Dialect
from sqlalchemy.exc import ResourceClosedError

from fastapi_asyncdb.dialects.autocommit import reads_in_autocommit
from fastapi_asyncdb.dialects.calls import steps_of
from fastapi_asyncdb.dialects.reading_streams import (
    Snapshot,
    Streams,
    end_streams,
    open_streams,
)

_PLAIN = "fastapi_asyncdb_create_server_side_cursor"


def stream_in(dialect: Dialect, snapshot: Snapshot) -> None:
    """Give the streams of reading connections a snapshot. Costs nothing where nothing is streamed.

    Args:
        dialect: Of the engine whose connections read.
        snapshot: What the streams of one connection share.
    """
    context: Any = dialect.execution_ctx_cls
    dialect.execution_ctx_cls = _streaming(context, snapshot)
    steps_of(dialect).end_streams = end_streams


@cache
def _streaming(context: Any, snapshot: Snapshot) -> Any:
    create = context.create_server_side_cursor

    def create_server_side_cursor(self: Any) -> Any:
        cursor = create(self)
        if reads_in_autocommit(self.execution_options):
            return StreamCursor(cursor, self.root_connection, snapshot)
        return cursor

    members = {"create_server_side_cursor": create_server_side_cursor, _PLAIN: create}
    return type(context.__name__, (context,), members)


def plain_cursor_of(context: Any) -> Callable[[Any], DBAPICursor]:
    """Return the method with which an execution context makes cursors outside of any snapshot."""
    return cast(
        Callable[[Any], DBAPICursor], getattr(context, _PLAIN, context.create_server_side_cursor)
    )


class CursorProxy:
    """A cursor whose attributes are the driver's, except for those of the subclass.

    Args:
        cursor: SQLAlchemy's adapter of the driver's cursor.
        connection: SQLAlchemy's connection.
    """

    _OWN: ClassVar[frozenset[str]] = frozenset({"_cursor", "_connection"})
    """The attributes that are set on the proxy itself."""

    def __init__(self, cursor: DBAPICursor, connection: Connection) -> None:
        self._cursor: Any = cursor
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._OWN:
            object.__setattr__(self, name, value)
        else:
            setattr(self._cursor, name, value)


class StreamCursor(CursorProxy):
    """A cursor on the server, which is opened and closed with others in its snapshot.

    Args:
        cursor: SQLAlchemy's adapter of the driver's cursor.
        connection: SQLAlchemy's connection.
        snapshot: What the streams of the connection share.
    """

    _OWN = CursorProxy._OWN | {"_snapshot", "_streams"}

    def __init__(self, cursor: DBAPICursor, connection: Connection, snapshot: Snapshot) -> None:
        super().__init__(cursor, connection)
        self._snapshot = snapshot
        self._streams: Streams | None = None

    def execute(self, *arguments: Any) -> Any:
        """Begin a snapshot, or join that of an open stream."""
        streams = open_streams(self._connection)
        if streams is not None:
            streams.end_if_left()
        if not streams:
            streams = Streams(self._connection, self._snapshot)
        self._streams = streams
        streams.enter(self, self._cursor)
        return self._cursor.execute(*arguments)

    def leave_snapshot(self) -> bool:
        """End the snapshot of a failed execution; return whether no other stream needs it."""
        return self._streams is not None and self._streams.take_out(self, self._cursor)

    def fetchone(self) -> Any:
        """Fetch a row, while no other task uses the session."""
        return self._exclusively(self._cursor.fetchone)

    def fetchmany(self, *size: int, **options: int) -> Any:
        """Fetch some rows, while no other task uses the session."""
        return self._exclusively(lambda: self._cursor.fetchmany(*size, **options))

    def fetchall(self) -> Any:
        """Fetch the other rows, while no other task uses the session."""
        return self._exclusively(self._cursor.fetchall)

    def close(self) -> None:
        """Close it, and end the snapshot if no other is open."""
        streams = self._streams
        if streams is None:
            self._cursor.close()
        elif not streams.over:
            streams.leave(self, self._cursor)

    def _exclusively(self, fetch: Callable[[], Any]) -> Any:
        streams = self._streams
        if streams is None:
            return fetch()
        with streams.exclusive():
            if streams.over:
                raise ResourceClosedError(
                    "This stream is over: the session's commit(), rollback() or close() has ended it, "
                    "or its request is done. Read it to its end before that."
                )
            return fetch()
