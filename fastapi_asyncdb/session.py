"""The end of a session: the one commit-or-rollback, and what makes sure that it is finished.

Knows nothing of requests and opens no engine.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from functools import partial, wraps
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction

from fastapi_asyncdb.guard import SessionGuard, guard_of
from fastapi_asyncdb.holding import Hold
from fastapi_asyncdb.hooks import ENDINGS, HookedTransaction, hooked, run_hooks
from fastapi_asyncdb.in_doubt import CommitInterrupted
from fastapi_asyncdb.shield import Shielded, finish

logger = logging.getLogger(__name__)

# Every coroutine of AsyncSession that works on the session's state and calls no other of these, but
# for "stream", which has a function of its own.
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
)
# Those that end a transaction, and so are not left halfway.
_FINISHED = ("commit", "rollback", "close")


def guarded(session_class: type[AsyncSession]) -> type[AsyncSession]:
    """Return the session class with the guard built in."""
    sync_class = session_class.sync_session_class
    members: dict[str, Any] = {
        name: _in_turn(getattr(session_class, name)) for name in _ENTRY_POINTS
    }
    members["stream"] = _in_turn(_noting_streams(session_class.stream))
    members |= {name: _to_the_end(getattr(session_class, name)) for name in _FINISHED}
    members |= {name: hooked(members.get(name, getattr(session_class, name))) for name in ENDINGS}
    members["begin"] = lambda self: _Block(self)
    members["sync_session_class"] = type(sync_class.__name__, (SessionGuard, sync_class), {})
    return type(session_class.__name__, (session_class,), members)


def _in_turn(method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Let one task in at a time.

    A commit or rollback of the library's own is waited for: FastAPI starts a stream of server-sent
    events before the handler's commit. Another task's call is a mistake, which asyncpg would hide by
    running one after the other, in an order that nobody chose.
    """

    @wraps(method)
    async def in_turn(self: AsyncSession, *args: Any, **kwargs: Any) -> Any:
        guard = guard_of(self)
        if guard.settling is not None:
            await guard.until_settled()
        task = asyncio.current_task()
        if guard.user is not None:
            guard.refuse_concurrent_use()
            return await method(self, *args, **kwargs)  # one of its methods calls another
        guard.user = task
        if guard.hold is not None:
            guard.hold.approach()
        try:
            if guard.streams is not None:
                await guard.end_left_streams()
            return await method(self, *args, **kwargs)
        finally:
            guard.user = None
            if guard.free is not None:
                guard.free.set()

    return in_turn


def _noting_streams(method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Let the fetches of a stream be calls of its session, too."""

    @wraps(method)
    async def stream(self: AsyncSession, *args: Any, **kwargs: Any) -> Any:
        result = await method(self, *args, **kwargs)
        guard_of(self).note_streams()
        return result

    return stream


def _to_the_end(
    method: Callable[[AsyncSession], Coroutine[Any, Any, None]],
) -> Callable[[AsyncSession], Coroutine[Any, Any, None]]:
    """Let a commit, rollback or close finish, although its caller is cancelled."""
    commits = method.__name__ == "commit"

    @wraps(method)
    async def to_the_end(self: AsyncSession) -> None:
        settling = guard_of(self).settling
        within = settling is not None and settling is asyncio.current_task()
        if within or not self.in_transaction():
            await method(self)
        else:
            await _settle(self, partial(method, self), commits=commits)

    return to_the_end


class _FinishedTransaction(AsyncSessionTransaction):
    """A block whose end is a commit or rollback like any other."""

    __slots__ = ()

    async def commit(self) -> None:
        await _settle(self.session, super().commit, commits=True)

    async def rollback(self) -> None:
        await _settle(self.session, super().rollback, commits=False)

    async def __aexit__(self, kind: Any, error: Any, traceback: Any) -> None:
        leave = partial(super().__aexit__, kind, error, traceback)
        await _settle(self.session, leave, commits=kind is None)


class _Block(HookedTransaction, _FinishedTransaction):
    """What ``session.begin()`` returns."""

    __slots__ = ()


class SessionScope(AbstractAsyncContextManager[AsyncSession]):
    """Open a session; commit when the block ends, roll back when it raises, and end the session.

    Args:
        open_session: Called when the block is entered.
    """

    def __init__(self, open_session: Callable[[], AsyncSession]) -> None:
        self._open = open_session

    async def __aenter__(self) -> AsyncSession:
        self._session = self._open()
        return self._session

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        session = self._session
        try:
            await _end(session, error)
        finally:
            if session.in_transaction():
                await session.close()
            guard_of(session).ended = True


class TransactionScope(AbstractAsyncContextManager[AsyncSession]):
    """Commit when the block ends, roll back when it raises; the session may be used further.

    Args:
        session: The session, which ran nothing yet.
    """

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def __aenter__(self) -> AsyncSession:
        return self._session

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        await _end(self._session, error, streams_on=True)


async def _end(
    session: AsyncSession, error: BaseException | None, *, streams_on: bool = False
) -> None:
    """Commit, or roll back after any exception, cancellation included; then run the hooks.

    This is the only place in the library that decides between the two. A session that ran no
    statement has nothing to end and touches no connection. Nor has a reading session in the middle of
    a stream, if somebody may read on: it commits nothing.
    """
    guard = guard_of(session)
    committed = False
    try:
        if error is not None:
            await _rollback(session)
        elif guard.cut_off():
            logger.info("A response was cut off before it ended; what it wrote is rolled back.")
            await _rollback(session)
        else:
            if streams_on and guard.streams:
                await session.flush()  # refused, if there is anything to write
            elif session.in_transaction():
                await session.commit()
            committed = True
    finally:
        if guard.hooks:
            await run_hooks(session, committed=committed)


async def _rollback(session: AsyncSession) -> None:
    if session.in_transaction():
        await session.rollback()
    guard_of(session).hooks.end(committed=False)


async def _settle(
    session: AsyncSession, work: Callable[[], Coroutine[Any, Any, None]], *, commits: bool
) -> None:
    """Commit, roll back or close to the end, while others wait.

    A commit may take as long as the database lets it: its flush, or a deferred constraint, may be
    much work. What throws work away may not.
    """
    guard = guard_of(session)
    if guard.settling is not None:
        await guard.until_settled()
    if commits:
        guard.refuse_concurrent_use()
    shielded = Shielded(_work(guard, work))
    guard.settling = shielded.task
    limit = math.inf if commits else guard.patience
    patience = guard.time_to_commit if commits else lambda: guard.patience
    try:
        await finish(shielded, patience=patience, limit=limit)
    except TimeoutError as error:
        if commits:
            raise
        raise TimeoutError(
            f"A transaction could not be rolled back within {guard.patience:g} s, most likely because "
            "the network is cut. Its connection was discarded, and the server rolls back by itself "
            "when it notices: there is nothing to do."
        ) from error
    finally:
        guard.settling = None
        if guard.postponed:
            session.add_all(guard.postponed)
            guard.postponed = ()


async def _work(guard: SessionGuard, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    if guard.user is not None:
        await guard.until_free()
    try:
        await work()
    except CommitInterrupted as interrupted:
        raise interrupted.outcome from interrupted


def watch_hold(session: AsyncSession, hold: Hold) -> None:
    """Tell who holds the session's connection for too long."""
    guard_of(session).hold = hold


def begin_each_with(session: AsyncSession, step: Callable[[Connection], None]) -> None:
    """Run the step first in each of the session's transactions; if it raises, nothing else runs."""
    guard_of(session).first_step = step


def expect_streamers(session: AsyncSession) -> None:
    """Say that the handler's transaction is over and a stream or background tasks may follow."""
    guard_of(session).expect_streamers()
