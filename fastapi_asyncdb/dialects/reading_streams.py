"""Streams of reading connections, which are in autocommit: they share a snapshot while one is open.

The preset of the database says what a snapshot is.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, cast
from weakref import WeakSet, ref

from sqlalchemy import Connection
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor, Dialect
from sqlalchemy.pool import PoolProxiedConnection

from fastapi_asyncdb import finishing
from fastapi_asyncdb.concurrency import await_only, greenlet_spawn
from fastapi_asyncdb.dialects.calls import info_of, steps_of
from fastapi_asyncdb.finishing import finish

_STREAMS = "fastapi_asyncdb.streams"


class _Tasks(Protocol):
    def exclusive(self) -> AbstractContextManager[None]: ...


class _Session(Protocol):
    @property
    def tasks(self) -> _Tasks: ...

    def streams_are_over(self) -> None: ...


class Snapshot:
    """Begin something before the first stream of a connection, end it after the last: here, nothing.

    Stateless: everything is an argument.
    """

    def begin(self, dialect: Dialect, connection: DBAPIConnection) -> None:
        """Prepare the connection for the first stream."""

    def end(self, connection: DBAPIConnection) -> None:
        """End it on the server."""

    def leave(self, dialect: Dialect, connection: DBAPIConnection) -> None:
        """Go back to autocommit, when it has ended."""


NOTHING = Snapshot()


class Streams:
    """The open streams of one connection, and the snapshot that they share.

    Args:
        connection: SQLAlchemy's.
        snapshot: Their snapshot.
    """

    def __init__(self, connection: Connection, snapshot: Snapshot) -> None:
        # Weak: the pool keeps the connection's info, and so it would keep the connection checked out.
        self._connection = ref(connection)
        self._dbapi_connection = cast(DBAPIConnection, connection.connection.dbapi_connection)
        self._dialect = connection.dialect
        self._info = connection.info
        self._snapshot = snapshot
        self._cursors: list[DBAPICursor] = []
        # Weak: a stream to which no reference is left is not open.
        self._open: WeakSet[object] = WeakSet()
        self._ended = False
        self.over = False
        """Whether its cursors are closed."""
        self.session: Callable[[], _Session | None] = lambda: None
        """Returns the state of the session, which lets one task at a time use it."""
        snapshot.begin(self._dialect, self._dbapi_connection)
        self._info[_STREAMS] = self
        streaming = steps_of(self._dialect).streams
        self._entry: ref[object] = ref(self, streaming.discard)
        streaming.add(self._entry)

    def __bool__(self) -> bool:
        return bool(self._open) and not self.over

    def enter(self, stream: object, cursor: DBAPICursor) -> None:
        """Add a stream to the snapshot."""
        self._open.add(stream)
        self._cursors.append(cursor)

    def leave(self, stream: object, cursor: DBAPICursor) -> None:
        """Close a stream; with the last one end the snapshot, and tell the session."""
        with self.exclusive():
            self._open.discard(stream)
            if self._open:
                # psycopg closes its connection when it is cancelled here repeatedly.
                _to_the_end(cursor.close)
            else:
                self.end_if_left()
        session = self.session()
        if self.over and session is not None:
            session.streams_are_over()

    def take_out(self, stream: object, cursor: DBAPICursor) -> bool:
        """End the snapshot if no other stream is open, so that the cursor can begin another one.

        Returns:
            Whether it has ended.
        """
        if len(self._open) > 1:
            return False
        # Or it would be closed with the others.
        self._cursors.remove(cursor)
        self._open.discard(stream)
        self.end_if_left()
        return True

    def end_if_left(self) -> None:
        """End the snapshot if no stream is open, although the caller is cancelled.

        A connection on which that fails is invalidated: its transaction would stay open.
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
        steps_of(self._dialect).streams.discard(self._entry)
        self._snapshot.end(self._dbapi_connection)
        # In no transaction any more, so that nothing is sent.
        for cursor in self._cursors:
            cursor.close()
        self._snapshot.leave(self._dialect, self._dbapi_connection)
        self._ended = True

    def exclusive(self) -> AbstractContextManager[None]:
        """Keep other tasks from the session in a block."""
        session = self.session()
        return nullcontext() if session is None else session.tasks.exclusive()


def _to_the_end(work: Callable[[], None]) -> None:
    await_only(finish(greenlet_spawn(work), grace=lambda: finishing.GRACE.ending))


def open_streams(connection: Connection) -> Streams | None:
    """Return the streams that are open on a connection."""
    if connection.closed or connection.invalidated:
        return None
    return cast("Streams | None", connection.info.get(_STREAMS))


def end_streams(connection: PoolProxiedConnection) -> None:
    """End the streams of a connection, before its COMMIT or ROLLBACK."""
    streams = info_of(connection).get(_STREAMS)
    if streams is not None:
        streams.end()
