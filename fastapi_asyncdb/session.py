"""The end of a session: the one commit-or-rollback, and what a session refuses afterwards.

Knows nothing of requests and opens no engine.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, cast

from anyio import CancelScope
from sqlalchemy import Connection, Engine, event
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session
from sqlalchemy.util import await_only

from fastapi_asyncdb.errors import SessionClosed, TransactionAborted

logger = logging.getLogger(__name__)


class SessionGuard(Session):
    """What the library adds to a ``Session``: an end, and an eye on streamed work that is cut off.

    A response may be streamed by a task of its own. When the client leaves, Starlette cancels that
    task and goes on as if the stream had ended; only the task itself knows better.
    """

    _ended = False
    _settling: asyncio.Task[Any] | None = None
    _streamers: set[asyncio.Task[Any]] | None = None

    def get_bind(self, *args: Any, **kwargs: Any) -> Engine | Connection:
        """Choose the engine, as SQLAlchemy does before each statement, if the session may go on."""
        self._check_usable()
        # A stream that starts early must not run into the commit of the handler's work.
        while self._settling is not None and self._settling is not asyncio.current_task():
            await_only(asyncio.wait([self._settling]))
        return super().get_bind(*args, **kwargs)

    def _check_usable(self) -> None:
        if self._ended:
            raise SessionClosed(
                "This session has ended: its request, or its 'async with' block, is over. Open a "
                "new one with 'async with database.session() as session:' (default_database is the "
                "handle behind DB)."
            )
        if self._streamers is not None:
            if self._cut_off():
                raise TransactionAborted(
                    "The response that used this session was cut off, most likely because the "
                    "client left, and what it did is to be rolled back. Call 'await db.rollback()' "
                    "first, or use a session of your own: 'async with database.session()'."
                )
            task = asyncio.current_task()
            if task is not None:
                self._streamers.add(task)

    def _cut_off(self) -> bool:
        """Whether a task that used the session after the handler ended by cancellation."""
        return any(task.done() and task.cancelled() for task in self._streamers or ())

    def watch_streamers(self) -> None:
        """Remember from now on which tasks use the session: the handler is done, a stream may follow."""
        self._streamers = set()

    def rollback(self) -> None:
        """Roll back, and forget the tasks whose work is undone by it."""
        super().rollback()
        if self._streamers:
            self._streamers.clear()


@event.listens_for(SessionGuard, "before_attach", propagate=True)
def _refuse_objects(session: SessionGuard, instance: object) -> None:
    session._check_usable()


def guarded(sync_class: type[Session]) -> type[Session]:
    """Return the session class with the guard in front."""
    if issubclass(sync_class, SessionGuard):
        return sync_class
    return type(sync_class.__name__, (SessionGuard, sync_class), {})


@asynccontextmanager
async def session_scope(session: AsyncSession) -> AsyncIterator[AsyncSession]:
    """Commit when the block ends, roll back when it raises, and end the session either way."""
    try:
        async with transaction(session):
            yield session
    finally:
        if session.in_transaction():
            await _to_the_end(session, session.close())
        _guard(session)._ended = True


@asynccontextmanager
async def transaction(session: AsyncSession) -> AsyncIterator[AsyncSession]:
    """Commit when the block ends, roll back on any exception that leaves it, cancellation included.

    This is the only place in the library that decides between the two. A session that ran no
    statement has nothing to end and touches no connection.
    """
    try:
        yield session
    except BaseException:
        await _rollback(session)
        raise
    if _guard(session)._cut_off():
        logger.info("A response was cut off before it ended; what it wrote is rolled back.")
        await _rollback(session)
    elif session.in_transaction():
        await _to_the_end(session, session.commit())


async def _rollback(session: AsyncSession) -> None:
    if session.in_transaction():
        await _to_the_end(session, session.rollback())


async def _to_the_end(session: AsyncSession, work: Coroutine[Any, Any, None]) -> None:
    """Finish the work even if the caller is cancelled meanwhile, and only then pass that on.

    A COMMIT that is abandoned halfway has an unknown outcome, a ROLLBACK a lost connection. AnyIO's
    shield holds off its cancel scopes, asyncio's a plain ``task.cancel()``.
    """
    guard = _guard(session)
    task = guard._settling = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    try:
        with CancelScope(shield=True):
            while not task.done():
                try:
                    await asyncio.wait([task])
                except asyncio.CancelledError as error:
                    cancelled = error
    finally:
        guard._settling = None
    task.result()
    if cancelled is not None:
        raise cancelled


def _guard(session: AsyncSession) -> SessionGuard:
    return cast(SessionGuard, session.sync_session)


def expect_streamers(session: AsyncSession) -> None:
    """Say that the handler's transaction is over and a stream or background tasks may follow."""
    _guard(session).watch_streamers()
