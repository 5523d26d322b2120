"""The end of a session: the one commit-or-rollback, and what makes sure that it is finished.

Knows nothing of requests and opens no engine.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from functools import partial, wraps
from inspect import iscoroutinefunction
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import IllegalStateChangeError
from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction

from fastapi_asyncdb.engine.in_doubt import CommitInterrupted
from fastapi_asyncdb.errors import RollbackTimeout
from fastapi_asyncdb.finishing import Shielded, finish
from fastapi_asyncdb.pool.checkout_warnings import Hold
from fastapi_asyncdb.session.hooks import ENDINGS, HookedTransaction, hooked, run_hooks
from fastapi_asyncdb.session.misuse import Misused
from fastapi_asyncdb.session.retry import is_retryable
from fastapi_asyncdb.session.state import SessionGuard, guard_of

logger = logging.getLogger(__name__)

S = TypeVar("S", bound=AsyncSession)

# They only call others of the session.
_DELEGATING = frozenset({"aclose", "scalars", "stream_scalars"})
# Every other coroutine of the installed SQLAlchemy: 2.1 has more of them than 2.0.
_ENTRY_POINTS = tuple(
    name
    for name, member in vars(AsyncSession).items()
    if iscoroutinefunction(member)
    and not name.startswith("_")
    and name not in {*_DELEGATING, *ENDINGS} - {"run_sync"}
)
# How a rollback's time is divided: for itself, for the closing of its connection when it is cancelled,
# and for what that leaves when it is cancelled once more.
_ROLLBACK = (0.6, 0.25, 0.15)
# Those that end a transaction, and so are not left halfway.
_FINISHED = ("commit", "rollback", "close")


def guarded(session_class: type[S]) -> type[S]:
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
    return cast("type[S]", type(session_class.__name__, (session_class,), members))


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


class SessionScope(Misused, AbstractAsyncContextManager[S]):
    """Open a session; commit when the block ends, roll back when it raises, and end the session.

    Args:
        open_session: Called when the block is entered.
        repeated: After a conflict the block is run again, and must not start from what it has done in
            vain: objects that it was given are expired then. In any other case they keep their values.
    """

    _fact = "The result of database.session()"
    _advice = (
        "It is a session only inside of its block, which commits or rolls back: 'async with "
        "database.session() as session:', and use 'session' there."
    )

    def __init__(self, open_session: Callable[[], S], *, repeated: bool = False) -> None:
        self._open = open_session
        self._repeated = repeated

    async def __aenter__(self) -> S:
        self._session = self._open()
        return self._session

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        session = self._session
        expires = self._repeated and (error is None or is_retryable(error))
        try:
            await _end(session, error, expires=expires)
        except RollbackTimeout as given_up:
            error = given_up
            raise
        finally:
            if session.in_transaction():
                await _close(session, error, expires=expires)
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
    session: AsyncSession,
    error: BaseException | None,
    *,
    expires: bool = False,
    streams_on: bool = False,
) -> None:
    """Commit, or roll back after any exception, cancellation included; then run the hooks.

    This is the only place in the library that decides between the two. A session that ran no
    statement has nothing to end and touches no connection. Nor has a reading session in the middle of
    a stream, which may be read on: it commits nothing. After a rollback its objects are detached.

    Args:
        session: The session.
        error: What the block has raised.
        expires: Whether a rollback expires the objects; otherwise they keep their values.
        streams_on: Whether an open stream may be read on.
    """
    guard = guard_of(session)
    committed = False
    try:
        if isinstance(error, RollbackTimeout):
            guard.hooks.end(committed=False)  # tried already, and given up
        elif error is not None:
            await _rollback(session, expires=expires)
        elif guard.cut_off():
            logger.info("A response was cut off before it ended; what it wrote is rolled back.")
            await _rollback(session, expires=expires)
        else:
            if streams_on and guard.streams:
                await session.flush()  # refused, if there is anything to write
            elif session.in_transaction():
                await _commit(session, expires=expires)
            committed = True
    finally:
        if guard.hooks:
            await run_hooks(session, committed=committed)


async def _close(session: AsyncSession, error: BaseException | None, *, expires: bool) -> None:
    try:
        # Without an error it is the commit that has failed.
        await (_rollback(session, expires=True) if expires else session.close())
    except IllegalStateChangeError:
        # A driver that ignores its cancellation may still be in the rollback that was given up.
        if not isinstance(error, RollbackTimeout):
            raise


async def _commit(session: AsyncSession, *, expires: bool) -> None:
    guard = guard_of(session)
    guard.lets_go = None if expires else "kept"
    try:
        await session.commit()
    finally:
        guard.let_go()
        guard.lets_go = None


async def _rollback(session: AsyncSession, *, expires: bool) -> None:
    guard = guard_of(session)
    if session.in_transaction():
        guard.lets_go = "expired" if expires else "kept"
        try:
            await session.rollback()
        finally:
            guard.lets_go = None
    guard.hooks.end(committed=False)


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
    try:
        if commits:
            await finish(shielded, patience=guard.time_to_commit)
        else:
            await _roll_back_in_time(shielded, guard.patience)
    finally:
        guard.settling = None
        if guard.postponed:
            session.add_all(guard.postponed)
            guard.postponed = ()


async def _roll_back_in_time(shielded: Shielded[None], seconds: float) -> None:
    own, first, second = (seconds * share for share in _ROLLBACK)
    try:
        await finish(shielded, patience=lambda: own, limit=own, last_words=(first, second))
    except TimeoutError as error:
        raise RollbackTimeout(
            f"A transaction could not be rolled back within {seconds:g} s, most likely because the "
            "network is cut. Its connection was discarded, and the server rolls back by itself when it "
            "notices: nothing was stored, and the work may be repeated.",
            error,
        ) from error


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


def bind_late(session: AsyncSession, engine: Callable[[], Engine]) -> None:
    """Ask for the session's engine at its first use, which fails if there is none yet."""
    guard_of(session).late_bind = engine


def begin_each_with(session: AsyncSession, step: Callable[[Connection], None]) -> None:
    """Run the step first in each of the session's transactions; if it raises, nothing else runs."""
    guard_of(session).first_step = step


def expect_streamers(session: AsyncSession) -> None:
    """Say that the handler's transaction is over and a stream or background tasks may follow."""
    guard_of(session).expect_streamers()
