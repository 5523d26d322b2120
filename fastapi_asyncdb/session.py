"""The end of a session: the one commit-or-rollback, and what a session refuses afterwards.

Knows nothing of requests and opens no engine.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any, cast

from sqlalchemy import Connection, Engine, event
from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction
from sqlalchemy.orm import Session

from fastapi_asyncdb.errors import SessionClosed, TransactionAborted
from fastapi_asyncdb.in_doubt import CommitInterrupted
from fastapi_asyncdb.shield import finish

logger = logging.getLogger(__name__)


class SessionGuard(Session):
    """What the library adds to a ``Session``: an end, and an eye on streamed work that is cut off.

    A response may be streamed by a task of its own. When the client leaves, Starlette cancels that
    task and goes on as if the stream had ended; only the task itself knows better.
    """

    ended = False
    patience = 10.0
    """Seconds that a commit has left once its caller is cancelled, and a rollback in any case."""
    settling: asyncio.Task[None] | None = None
    """The commit or rollback that is under way."""
    streamers: set[asyncio.Task[Any]] | None = None
    """The tasks that used the session since the handler was done; ``None`` until then."""

    began = False
    """Whether a connection is in a transaction for the session."""

    def time_left(self) -> float:
        """Return the seconds for a commit whose caller is cancelled: none before its connection."""
        return self.patience if self.began else 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.postponed: list[object] = []

    def add(self, instance: object, *args: Any, **kwargs: Any) -> None:
        """Add an object; one that comes while a commit is under way belongs to the next."""
        if self.settling in (None, _current_task()):
            super().add(instance, *args, **kwargs)
        else:
            self.postponed.append(instance)
            self.expect_streamers()
            self._remember_user()

    def expect_streamers(self) -> None:
        """Note from now on who uses the session: the handler is done, a stream may follow."""
        if self.streamers is None:
            self.streamers = set()

    def _remember_user(self) -> None:
        task = _current_task()
        if self.streamers is not None and task is not None:
            self.streamers.add(task)

    def get_bind(self, *args: Any, **kwargs: Any) -> Engine | Connection:
        """Choose the engine, as SQLAlchemy does before each statement, if the session may go on."""
        self.check_usable()
        return super().get_bind(*args, **kwargs)

    def check_usable(self) -> None:
        """Refuse a session that has ended, or whose stream was cut off; note who uses it."""
        if self.ended:
            raise SessionClosed(
                "This session has ended: its request, or its 'async with' block, is over. Open a "
                "new one with 'async with database.session() as session:' (default_database is the "
                "handle behind DB)."
            )
        if self.cut_off():
            raise TransactionAborted(
                "The response that used this session was cut off, most likely because the client "
                "left, and what it did is to be rolled back. Call 'await db.rollback()' first, or "
                "use a session of your own: 'async with database.session()'."
            )
        self._remember_user()

    def cut_off(self) -> bool:
        """Tell whether a task that used the session after the handler was cancelled."""
        return any(task.done() and task.cancelled() for task in self.streamers or ())

    def rollback(self) -> None:
        """Roll back, and forget the tasks whose work is undone by it."""
        super().rollback()
        if self.streamers:
            self.streamers.clear()


@event.listens_for(SessionGuard, "before_attach", propagate=True)
def _refuse_objects(session: SessionGuard, instance: object) -> None:
    session.check_usable()


@event.listens_for(SessionGuard, "after_begin", propagate=True)
def _note_begin(session: SessionGuard, transaction: object, connection: object) -> None:
    session.began = True


# Every coroutine of AsyncSession that works on the session's state.
_ENTRY_POINTS = (
    "connection",
    "delete",
    "execute",
    "flush",
    "get",
    "get_one",
    "merge",
    "refresh",
    "run_sync",
    "scalar",
    "scalars",
    "stream",
    "stream_scalars",
)


# What ends a transaction, and so is not left halfway.
_ENDINGS = ("commit", "rollback", "close")


def guarded(session_class: type[AsyncSession]) -> type[AsyncSession]:
    """Return the session class with the guard built in."""
    sync_class = session_class.sync_session_class
    members: dict[str, Any] = {
        name: _in_turn(getattr(session_class, name)) for name in _ENTRY_POINTS
    }
    members |= {name: _to_the_end(getattr(session_class, name)) for name in _ENDINGS}
    members["begin"] = _begin
    members["sync_session_class"] = type(sync_class.__name__, (SessionGuard, sync_class), {})
    return type(session_class.__name__, (session_class,), members)


def _in_turn(method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Let a commit or rollback that is under way finish first, unless the caller is its task.

    FastAPI starts a stream of server-sent events before the handler's commit.
    """

    @wraps(method)
    async def in_turn(self: AsyncSession, *args: Any, **kwargs: Any) -> Any:
        await _wait_for_turn(_guard(self))
        return await method(self, *args, **kwargs)

    return in_turn


async def _wait_for_turn(guard: SessionGuard) -> None:
    while guard.settling is not None and guard.settling is not asyncio.current_task():
        await asyncio.wait([guard.settling])


def _to_the_end(
    method: Callable[[AsyncSession], Coroutine[Any, Any, None]],
) -> Callable[[AsyncSession], Coroutine[Any, Any, None]]:
    """Let a commit, rollback or close finish, although its caller is cancelled."""
    limited = method.__name__ != "commit"

    @wraps(method)
    async def to_the_end(self: AsyncSession) -> None:
        if _guard(self).settling is asyncio.current_task() or not self.in_transaction():
            await method(self)
        else:
            await _settle(self, lambda: method(self), limited=limited)

    return to_the_end


class _Block(AsyncSessionTransaction):
    """What ``session.begin()`` returns: its end is a commit or rollback like any other."""

    __slots__ = ()

    async def commit(self) -> None:
        await _settle(self.session, super().commit, limited=False)

    async def rollback(self) -> None:
        await _settle(self.session, super().rollback, limited=True)

    async def __aexit__(self, kind: Any, error: Any, traceback: Any) -> None:
        leave = super().__aexit__
        await _settle(self.session, lambda: leave(kind, error, traceback), limited=kind is not None)


def _begin(session: AsyncSession) -> AsyncSessionTransaction:
    return _Block(session)


@asynccontextmanager
async def session_scope(session: AsyncSession) -> AsyncIterator[AsyncSession]:
    """Commit when the block ends, roll back when it raises, and end the session either way."""
    try:
        async with transaction(session):
            yield session
    finally:
        if session.in_transaction():
            await session.close()
        _guard(session).ended = True


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
    if _guard(session).cut_off():
        logger.info("A response was cut off before it ended; what it wrote is rolled back.")
        await _rollback(session)
    elif session.in_transaction():
        await session.commit()


async def _rollback(session: AsyncSession) -> None:
    if session.in_transaction():
        await session.rollback()


async def _settle(
    session: AsyncSession, work: Callable[[], Coroutine[Any, Any, None]], *, limited: bool
) -> None:
    """Commit, roll back or close to the end, while others wait.

    A commit may take as long as the database lets it: its flush, or a deferred constraint, may be
    much work. What throws work away may not.
    """
    guard = _guard(session)
    await _wait_for_turn(guard)
    guard.settling = asyncio.create_task(_with_outcome(work()))
    limit = guard.patience if limited else math.inf
    patience = (lambda: guard.patience) if limited else guard.time_left
    try:
        await finish(guard.settling, patience=patience, limit=limit)
    except TimeoutError as error:
        if not limited:
            raise
        raise TimeoutError(
            f"A transaction could not be rolled back within {guard.patience:g} s, most likely because "
            "the network is cut. Its connection was discarded, and the server rolls back by itself "
            "when it notices: there is nothing to do."
        ) from error
    finally:
        guard.settling = None
        guard.began = False
        if guard.postponed:
            session.add_all(guard.postponed)
            guard.postponed.clear()


async def _with_outcome(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except CommitInterrupted as interrupted:
        raise interrupted.outcome from interrupted


def _current_task() -> asyncio.Task[Any] | None:
    """Return the running task; there is none in the thread of a ``def`` endpoint."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def _guard(session: AsyncSession) -> SessionGuard:
    return cast(SessionGuard, session.sync_session)


def expect_streamers(session: AsyncSession) -> None:
    """Say that the handler's transaction is over and a stream or background tasks may follow."""
    _guard(session).expect_streamers()
