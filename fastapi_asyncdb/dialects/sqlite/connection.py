"""Opens SQLite's connections, each with the thread that aiosqlite gives it."""

from __future__ import annotations

import asyncio
from threading import Thread
from typing import TYPE_CHECKING, Any, cast

from fastapi_asyncdb.finishing import finish

if TYPE_CHECKING:
    import aiosqlite

# Seconds for a file that hangs, on a network for example, once nobody waits for it any more.
_PATIENCE = 5.0


async def connect(*args: Any, **options: Any) -> aiosqlite.Connection:
    """Connect; if that fails or is cancelled, close what is open and wait for the end of the thread.

    aiosqlite tells it to stop and goes on. Its last word is for the event loop, which may be closed by
    then: whoever starts and fails is about to end. A file that was opened for a caller who has left
    would stay open until the garbage collector finds it.
    """
    # Imported here: most applications have another database.
    import aiosqlite

    connection = aiosqlite.connect(*args, **options)
    # Before 0.22 the connection was the thread itself. Neither is to keep the process alive.
    thread = cast(Thread, getattr(connection, "_thread", connection))
    thread.daemon = True
    try:
        return await finish(_open(connection), grace=lambda: _PATIENCE)
    except BaseException:
        await finish(_close(connection, thread))
        raise


async def _open(connection: aiosqlite.Connection) -> aiosqlite.Connection:
    return await connection


async def _close(connection: aiosqlite.Connection, thread: Thread) -> None:
    await connection.close()
    await asyncio.to_thread(thread.join)
