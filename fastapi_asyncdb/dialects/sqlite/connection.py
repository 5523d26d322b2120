"""SQLite's connections: each knows its open cursors, and has the thread that aiosqlite gives it."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from threading import Thread
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakSet

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from fastapi_asyncdb import finishing
from fastapi_asyncdb.dialects.target import Target
from fastapi_asyncdb.finishing import finish

if TYPE_CHECKING:
    import aiosqlite


class ClosingCursor(sqlite3.Cursor):
    """A cursor that is closed when its statement fails, for Python 3.11.

    There the failed statement is reset with the cursor only, by the garbage collector: in the thread
    that it runs in, most often the event loop's, which then waits for the query that the connection is
    busy with by then. Nothing can interrupt that query. Python 3.12 resets the statement at once.
    """

    def execute(self, *args: Any) -> Any:
        """Execute a statement."""
        try:
            return super().execute(*args)
        except Exception:
            self.close()
            raise

    def executemany(self, *args: Any) -> Any:
        """Execute a statement with each of several sets of parameters."""
        try:
            return super().executemany(*args)
        except Exception:
            self.close()
            raise


_CURSOR = ClosingCursor if sys.version_info < (3, 12) else sqlite3.Cursor


class Connection(sqlite3.Connection):
    """A connection that can close its cursors, of which Python's own keeps no list."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._cursors: WeakSet[sqlite3.Cursor] = WeakSet()

    def cursor(self, factory: Any = _CURSOR) -> Any:
        """Make a cursor, and remember it as long as it is in use."""
        cursor = super().cursor(factory)
        self._cursors.add(cursor)
        return cursor

    def close_cursors(self) -> None:
        """Close each cursor, so that no query is left in the middle."""
        for cursor in list(self._cursors):
            cursor.close()


async def connect(*args: Any, **options: Any) -> aiosqlite.Connection:
    """Connect; if that fails or is cancelled, close the file and wait for the end of the thread.

    aiosqlite asks its thread to stop and does not wait for it. The thread still calls the event loop,
    which may be closed by then: a process whose database fails at the start is about to end. A file
    that was opened for a cancelled caller would stay open until the garbage collector finds it.
    """
    # Imported here: most applications have another database.
    import aiosqlite

    connection = aiosqlite.connect(*args, factory=Connection, **options)
    # Before 0.22 the connection was the thread itself. Neither keeps the process alive.
    thread = cast(Thread, getattr(connection, "_thread", connection))
    thread.daemon = True
    try:
        return await finish(_open(connection), grace=lambda: finishing.GRACE.opening)
    except BaseException:
        await finish(_close(connection, thread))
        raise


async def _open(connection: aiosqlite.Connection) -> aiosqlite.Connection:
    return await connection


async def _close(connection: aiosqlite.Connection, thread: Thread) -> None:
    await connection.close()
    await asyncio.to_thread(thread.join)


def keep_in_memory(engine: AsyncEngine, target: Target) -> None:
    """Keep one idle connection, since SQLite drops an in-memory database with its last one."""
    (filename, *_), _ = engine.dialect.create_connect_args(target.url)
    anchor = sqlite3.connect(filename, uri=True, check_same_thread=False)
    event.listen(engine.sync_engine, "engine_disposed", lambda _: anchor.close())
