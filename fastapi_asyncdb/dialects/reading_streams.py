"""Streams of reading connections, which are in autocommit: a snapshot lives as long as they do.

What a snapshot is, the database's preset says. Knows no session.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any, Protocol, cast
from weakref import WeakSet, ref

from sqlalchemy import Connection
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor, Dialect
from sqlalchemy.exc import ResourceClosedError
from sqlalchemy.pool import PoolProxiedConnection

from fastapi_asyncdb.concurrency import await_only, greenlet_spawn
from fastapi_asyncdb.dialects.calls import reads_in_autocommit
from fastapi_asyncdb.finishing import finish

_STREAMS = "fastapi_asyncdb.streams"
_PLAIN = "fastapi_asyncdb_create_server_side_cursor"
_GRACE = 10.0
"""Seconds for the end of a snapshot whose caller is cancelled."""


class _HasTurns(Protocol):
    def turn(self) -> AbstractContextManager[None]: ...


class Snapshot:
    """What lies around the streams of one connection. By itself nothing: SQLite needs no more.

    Stateless: everything comes in by argument.
    """

    def begin(self, dialect: Dialect, connection: DBAPIConnection) -> None:
        """Prepare the connection for the first stream."""

    def end(self, connection: DBAPIConnection) -> None:
        """Let the server end what it has begun."""

    def leave(self, dialect: Dialect, connection: DBAPIConnection) -> None:
        """Go back to autocommit, when what was begun has ended."""


NOTHING = Snapshot()


class Streams:
    """The open streams of one connection, and the snapshot that they share.

    Args:
        connection: SQLAlchemy's.
        snapshot: What lies around them.
    """

    def __init__(self, connection: Connection, snapshot: Snapshot) -> None:
        # Weak: the garbage collector could not take it back to the pool, which keeps its info.
        self._connection = ref(connection)
        self._dbapi_connection = cast(DBAPIConnection, connection.connection.dbapi_connection)
        self._dialect = connection.dialect
        self._info = connection.info
        self._snapshot = snapshot
        self._cursors: list[DBAPICursor] = []
        # A stream that its reader has dropped is not open.
        self._open: WeakSet[_Cursor] = WeakSet()
        self._ended = False
        self.over = False
        """Whether its cursors are gone."""
        self.turn_of: Callable[[], _HasTurns | None] = lambda: None
        """Returns the session, which lets one task at a time use its connection."""
        snapshot.begin(self._dialect, self._dbapi_connection)
        self._info[_STREAMS] = self

    def __bool__(self) -> bool:
        return bool(self._open) and not self.over

    def enter(self, stream: _Cursor, cursor: DBAPICursor) -> None:
        """Let a stream take part in the snapshot."""
        self._open.add(stream)
        self._cursors.append(cursor)

    def leave(self, stream: _Cursor, cursor: DBAPICursor) -> None:
        """Close a stream, and end the snapshot with the last one."""
        self._open.discard(stream)
        if self._open:
            # psycopg gives its connection up when it is cancelled here again and again.
            _to_the_end(cursor.close)
        else:
            self.end_if_left()

    def end_if_left(self) -> None:
        """End the snapshot if no stream is open, although the caller is cancelled.

        A connection on which that fails is given up: its transaction would stay open.
        """
        if self._open or self.over:
            return
        try:
            _to_the_end(self.end)
        except BaseException:
            connection = self._connection()
            if not self._ended and connection is not None and not connection.closed:
                connection.invalidate()
            raise

    def end(self) -> None:
        """End the snapshot, and go back to autocommit."""
        self.over = True
        self._info.pop(_STREAMS, None)
        self._snapshot.end(self._dbapi_connection)
        # In no transaction now, so that nothing is sent.
        for cursor in self._cursors:
            cursor.close()
        self._snapshot.leave(self._dialect, self._dbapi_connection)
        self._ended = True

    def turn(self) -> AbstractContextManager[None]:
        """Let nobody else use the session in a block."""
        session = self.turn_of()
        return nullcontext() if session is None else session.turn()


def _to_the_end(work: Callable[[], None]) -> None:
    await_only(finish(greenlet_spawn(work), grace=lambda: _GRACE))


class _Cursor:
    """A driver's cursor on the server, which is opened and closed with the others in its snapshot.

    Args:
        cursor: SQLAlchemy's adapter of it.
        streams: Of its connection, from the first statement on.
    """

    _OWN = ("_cursor", "_connection", "_snapshot", "_streams")

    def __init__(self, cursor: DBAPICursor, connection: Connection, snapshot: Snapshot) -> None:
        self._cursor = cursor
        self._connection = connection
        self._snapshot = snapshot
        self._streams: Streams | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._OWN:
            object.__setattr__(self, name, value)
        else:
            setattr(self._cursor, name, value)

    def execute(self, *arguments: Any) -> Any:
        """Begin, and join the snapshot of a stream that is open."""
        streams = open_streams(self._connection)
        if streams is not None:
            streams.end_if_left()
        if not streams:
            streams = Streams(self._connection, self._snapshot)
        self._streams = streams
        streams.enter(self, self._cursor)
        return self._cursor.execute(*arguments)

    def fetchone(self) -> Any:
        """Fetch a row, in turn."""
        return self._in_turn(self._cursor.fetchone)

    def fetchmany(self, *size: int, **options: int) -> Any:
        """Fetch some rows, in turn."""
        return self._in_turn(lambda: self._cursor.fetchmany(*size, **options))

    def fetchall(self) -> Any:
        """Fetch the other rows, in turn."""
        return self._in_turn(self._cursor.fetchall)

    def close(self) -> None:
        """Close it, and end the snapshot if no other is open."""
        streams = self._streams
        if streams is None:
            self._cursor.close()
        elif not streams.over:
            with streams.turn():
                streams.leave(self, self._cursor)

    def _in_turn(self, fetch: Callable[[], Any]) -> Any:
        streams = self._streams
        if streams is None:
            return fetch()
        with streams.turn():
            if streams.over:
                raise ResourceClosedError(
                    "This stream is over: the session's commit(), rollback() or close() has ended it, "
                    "or its request is done. Read it to its end before that."
                )
            return fetch()


def open_streams(connection: Connection) -> Streams | None:
    """Return the streams that are open on a connection."""
    if connection.closed or connection.invalidated:
        return None
    return cast("Streams | None", connection.info.get(_STREAMS))


def stream_in(dialect: Dialect, snapshot: Snapshot) -> None:
    """Give the streams of reading connections a snapshot. Costs nothing where nothing is streamed.

    Args:
        dialect: Of the engine whose connections read.
        snapshot: What lies around them.
    """
    context: Any = dialect.execution_ctx_cls
    dialect.execution_ctx_cls = _streaming(context, snapshot)
    _watch_ends(dialect)


@cache
def _streaming(context: Any, snapshot: Snapshot) -> Any:
    create = context.create_server_side_cursor

    def create_server_side_cursor(self: Any) -> Any:
        cursor = create(self)
        if reads_in_autocommit(self.execution_options):
            return _Cursor(cursor, self.root_connection, snapshot)
        return cursor

    members = {"create_server_side_cursor": create_server_side_cursor, _PLAIN: create}
    return type(context.__name__, (context,), members)


def plain_cursor_of(context: Any) -> Callable[[Any], DBAPICursor]:
    """Return what an execution context makes cursors on the server with, if nothing lies around them."""
    return cast(
        Callable[[Any], DBAPICursor], getattr(context, _PLAIN, context.create_server_side_cursor)
    )


def _watch_ends(dialect: Dialect) -> None:
    # In the dialect's own methods, since one listener for an engine's events makes SQLAlchemy look
    # for listeners at each step of each statement.
    for name in ("do_commit", "do_rollback"):
        setattr(dialect, name, _that_ends_streams(getattr(dialect, name)))


def _that_ends_streams(
    end: Callable[[PoolProxiedConnection], None],
) -> Callable[[PoolProxiedConnection], None]:
    def end_streams(dbapi_connection: PoolProxiedConnection) -> None:
        try:
            streams = dbapi_connection.info.get(_STREAMS)
        except NotImplementedError:
            streams = None  # so says the first connection, which is in no pool
        if streams is not None:
            streams.end()
        end(dbapi_connection)

    return end_streams
