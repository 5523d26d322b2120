"""Closes connections: those that are given up, and the idle ones when an engine is disposed of.

The closing is finished although the caller is cancelled, in bounded time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import cast

from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncEngine

from fastapi_asyncdb import finishing
from fastapi_asyncdb.concurrency import await_only, in_greenlet
from fastapi_asyncdb.dialects.calls import Method, wrap
from fastapi_asyncdb.finishing import finish
from fastapi_asyncdb.pool.fair_pool import FairPool

logger = logging.getLogger(__name__)


Close = Callable[[DBAPIConnection], Awaitable[bool]]
"""Ends a connection's statement and closes it; returns whether the server answered the handshake."""


def discard_whole(engine: AsyncEngine, close: Close) -> None:
    """Finish the closing of a connection that the pool gives up, although its task is cancelled.

    SQLAlchemy closes it in the task that was cancelled. There, an AnyIO scope, or a second
    ``task.cancel()``, cancels the closing too, and a connection in the middle of a transaction
    keeps its locks.

    Args:
        engine: The engine whose connections to close so.
        close: Closes one of them.
    """
    loop = _running_loop()

    def around(terminate: Method) -> Method:
        def do_terminate(dbapi_connection: DBAPIConnection) -> None:
            if in_greenlet():
                await_only(_to_the_end(close(dbapi_connection)))
                return
            # Called by the garbage collector, in any thread, which cannot wait.
            if loop is None or loop.is_closed() or loop is _running_loop():
                terminate(dbapi_connection)
            else:
                # Transports are for their loop's thread alone.
                loop.call_soon_threadsafe(terminate, dbapi_connection)

        return do_terminate

    wrap(engine.sync_engine.dialect, "do_terminate", around)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


async def dispose(engine: AsyncEngine, close: Close) -> None:
    """Close the idle connections of an engine, all at the same time.

    SQLAlchemy closes one after the other, and each waits for its server, however long that is silent.

    Args:
        engine: The engine, which has a new and empty pool afterwards.
        close: Closes one of them.
    """
    pool = engine.sync_engine.pool
    idle, closing = (pool.take_idle(), pool.closing) if isinstance(pool, FairPool) else ([], ())
    # Waits for nothing now: no other task can check out a connection in between.
    await engine.dispose()
    answered = await asyncio.gather(*map(_close, map(close, idle)))
    # Each has its own limit, the same.
    await asyncio.gather(*closing, return_exceptions=True)
    if not all(answered):
        logger.warning(
            "%d of %d idle connections to %r were closed without a closing handshake, most likely "
            "because the network is cut. The server closes its ends when it notices: there is nothing "
            "to do.",
            answered.count(False),
            len(answered),
            engine.url,
        )


async def _close(closing: Awaitable[bool]) -> bool:
    try:
        async with asyncio.timeout(finishing.GRACE.closing):
            return await closing
    except TimeoutError:
        return False
    except Exception:
        logger.exception("A connection could not be closed.")
        return True


async def _to_the_end(closing: Awaitable[bool]) -> None:
    """Close; a cancellation during that is raised at the next ``await`` of the caller.

    The pool would treat one that is raised here as a failure to close.
    """
    caller = cast("asyncio.Task[None]", asyncio.current_task())
    cancellations = caller.cancelling()
    try:
        await finish(_await(closing), limit=finishing.GRACE.closing)
    except TimeoutError:
        logger.warning(
            "A connection could not be closed within %g s and is left alone.",
            finishing.GRACE.closing,
        )
    except asyncio.CancelledError as error:
        if caller.cancelling() > cancellations:
            caller.uncancel()
            # By the message AnyIO knows its own.
            caller.cancel(*error.args)


async def _await(closing: Awaitable[bool]) -> None:
    await closing
