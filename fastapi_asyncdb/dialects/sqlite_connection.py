"""Opens SQLite's connections, each with the thread that aiosqlite gives it."""

from __future__ import annotations

import asyncio
from threading import Thread
from typing import TYPE_CHECKING, Any, cast

from fastapi_asyncdb.shield import finish

if TYPE_CHECKING:
    import aiosqlite


async def connect(*args: Any, **options: Any) -> aiosqlite.Connection:
    """Connect; if that fails, wait for the end of the thread.

    aiosqlite tells it to stop and goes on. Its last word is for the event loop, which may be closed by
    then: whoever starts and fails is about to end.
    """
    # Imported here: most applications have another database.
    import aiosqlite

    connection = aiosqlite.connect(*args, **options)
    # Before 0.22 the connection was the thread itself. Neither is to keep the process alive.
    thread = cast(Thread, getattr(connection, "_thread", connection))
    thread.daemon = True
    try:
        return await connection
    except BaseException:
        await finish(asyncio.to_thread(thread.join))
        raise
