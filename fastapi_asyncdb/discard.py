"""Closes a connection whose work was cut off, to the end and in bounded time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import cast

from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import await_only
from sqlalchemy.util.concurrency import in_greenlet

from fastapi_asyncdb.shield import finish

logger = logging.getLogger(__name__)

_LIMIT = 3.0
"""Seconds. A server that does not answer finds out by itself that the client is gone."""


def discard_whole(engine: AsyncEngine, close: Callable[[DBAPIConnection], Awaitable[None]]) -> None:
    """Let nothing interrupt the closing of a connection that the pool gives up.

    SQLAlchemy closes it in the task that was cancelled. There, an AnyIO scope, or a second
    ``task.cancel()``, cancels the closing too, and a connection in the middle of a transaction
    keeps its locks.

    Args:
        engine: The engine whose connections to close so.
        close: Ends what the connection does, and closes it.
    """
    dialect = engine.sync_engine.dialect
    terminate = dialect.do_terminate

    def do_terminate(dbapi_connection: DBAPIConnection) -> None:
        if in_greenlet():
            await_only(_to_the_end(close(dbapi_connection)))
        else:
            # The garbage collector found it; nobody can wait here.
            terminate(dbapi_connection)

    dialect.do_terminate = do_terminate  # type: ignore[method-assign]


async def _to_the_end(closing: Awaitable[None]) -> None:
    """Close, and hand a cancellation that comes meanwhile to whatever is awaited next.

    The pool would take one that is raised here for a failure to close.
    """
    caller = cast("asyncio.Task[None]", asyncio.current_task())
    cancellations = caller.cancelling()
    try:
        await finish(_await(closing), limit=_LIMIT)
    except TimeoutError:
        logger.warning("A connection could not be closed within %g s and is left alone.", _LIMIT)
    except asyncio.CancelledError as error:
        if caller.cancelling() > cancellations:
            caller.uncancel()
            # By the message AnyIO knows its own.
            caller.cancel(*error.args)


async def _await(closing: Awaitable[None]) -> None:
    await closing
