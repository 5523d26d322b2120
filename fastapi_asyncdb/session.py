"""The end of a session: the one commit-or-rollback, and what a session refuses afterwards.

Knows nothing of requests and opens no engine.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any, cast

from sqlalchemy import Connection, Engine, event
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import SessionTransaction

from fastapi_asyncdb.aborted import refuse_aborted
from fastapi_asyncdb.errors import ConcurrentSessionUse, SessionClosed, TransactionAborted
from fastapi_asyncdb.hooks import ENDINGS, HookedSession, HookedTransaction, hooked, hooks_after
from fastapi_asyncdb.shield import finish

logger = logging.getLogger(__name__)


class SessionGuard(HookedSession):
    """What the library adds to a ``Session``: an end, and an eye on streamed work that is cut off.

    A response may be streamed by a task of its own. When the client leaves, Starlette cancels that
    task and goes on as if the stream had ended; only the task itself knows better.
    """

    ended = False
    settling: asyncio.Task[None] | None = None
    """The commit or rollback that is under way."""
    streamers: set[asyncio.Task[Any]] | None = None
    """The tasks that used the session since the handler was done; ``None`` until then."""
    user: asyncio.Task[Any] | None = None
    """The task that is in the middle of a call."""
    free: asyncio.Event | None = None
    """Set when that call is over; made by whoever waits for it."""
    first_step: Callable[[Connection], None] | None = None
    """What comes first in each transaction, on its connection."""
    failed_begin: Connection | None = None
    """Where the first step raised; nothing may run in such a transaction."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.postponed: list[object] = []
        self.connections: set[Connection] = set()
        """Those that take part in the transaction."""

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

    def may_run_hooks(self) -> bool:
        """Tell whether hooks may run now: not in the task that others wait for."""
        return self.settling is None

    def _remember_user(self) -> None:
        task = _current_task()
        if self.streamers is not None and task is not None:
            self.streamers.add(task)

    def get_bind(self, *args: Any, **kwargs: Any) -> Engine | Connection:
        """Choose the engine, as SQLAlchemy does before each statement, if the session may go on."""
        self.check_usable()
        self.refuse_concurrent_use()
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
        if self.failed_begin is not None:
            raise TransactionAborted(_BEGIN_FAILED)
        self._remember_user()

    def cut_off(self) -> bool:
        """Tell whether a task that used the session after the handler was cancelled."""
        return any(task.done() and task.cancelled() for task in self.streamers or ())

    def refuse_concurrent_use(self) -> None:
        """Refuse a task that comes while another one is in the middle of a call."""
        task = _current_task()
        if self.user not in (None, task):
            raise ConcurrentSessionUse(
                f"{_name(task)} uses this session while {_name(self.user)} is using it, and a session "
                "does one thing at a time. Await one after the other, or give each task a session of "
                "its own: 'async with database.session()'."
            )

    def rollback(self) -> None:
        """Roll back, and forget the tasks whose work is undone by it."""
        if self.failed_begin is not None and not self.failed_begin.in_transaction():
            # The first step has rolled back already; SQLAlchemy would warn of the second time.
            self.close()
        else:
            super().rollback()
        if self.streamers:
            self.streamers.clear()


_BEGIN_FAILED = (
    "on_begin raised when this transaction began, and its statements must not run without it. Let the "
    "error pass, or call 'await db.rollback()' before the session is used again."
)


@event.listens_for(SessionGuard, "after_begin", propagate=True)
def _take_first_step(
    session: SessionGuard, transaction: SessionTransaction, connection: Connection
) -> None:
    of_this_database = session.bind is not None and connection.engine is session.bind.engine
    if session.first_step is None or transaction.nested or not of_this_database:
        return
    try:
        session.first_step(connection)
    except BaseException:
        session.failed_begin = connection
        raise


@event.listens_for(SessionGuard, "before_commit", propagate=True)
def _refuse_commit_without_first_step(session: SessionGuard) -> None:
    if session.failed_begin is not None:
        raise TransactionAborted(_BEGIN_FAILED)


@event.listens_for(SessionGuard, "after_transaction_end", propagate=True)
def _forget_failed_begin(session: SessionGuard, transaction: SessionTransaction) -> None:
    if transaction.parent is None:
        session.failed_begin = None


@event.listens_for(SessionGuard, "before_attach", propagate=True)
def _refuse_objects(session: SessionGuard, instance: object) -> None:
    session.check_usable()


@event.listens_for(SessionGuard, "after_begin", propagate=True)
def _note_connection(
    session: SessionGuard, transaction: SessionTransaction, connection: Connection
) -> None:
    session.connections.add(connection)


@event.listens_for(SessionGuard, "after_transaction_end", propagate=True)
def _forget_connections(session: SessionGuard, transaction: SessionTransaction) -> None:
    if transaction.parent is None:
        session.connections.clear()


@event.listens_for(SessionGuard, "before_commit", propagate=True)
def _refuse_aborted(session: SessionGuard) -> None:
    for connection in session.connections:
        refuse_aborted(connection)


# Every coroutine of AsyncSession that works on the session's state.
_ENTRY_POINTS = (
    "commit",
    "connection",
    "delete",
    "execute",
    "flush",
    "get",
    "get_one",
    "merge",
    "refresh",
    "rollback",
    "run_sync",
    "scalar",
    "scalars",
    "stream",
    "stream_scalars",
)


def guarded(session_class: type[AsyncSession]) -> type[AsyncSession]:
    """Return the session class with the guard built in."""
    sync_class = session_class.sync_session_class
    members: dict[str, Any] = {
        name: _in_turn(getattr(session_class, name)) for name in _ENTRY_POINTS
    }
    members |= {name: hooked(members.get(name, getattr(session_class, name))) for name in ENDINGS}
    members["begin"] = lambda self: HookedTransaction(self)
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
        guard = _guard(self)
        task = asyncio.current_task()
        while guard.settling not in (None, task):
            await asyncio.wait([guard.settling])
        guard.refuse_concurrent_use()
        if guard.user is task:  # one of its methods calls another
            return await method(self, *args, **kwargs)
        guard.user = task
        try:
            return await method(self, *args, **kwargs)
        finally:
            guard.user = None
            if guard.free is not None:
                guard.free.set()

    return in_turn


@asynccontextmanager
async def session_scope(session: AsyncSession) -> AsyncIterator[AsyncSession]:
    """Commit when the block ends, roll back when it raises, and end the session either way."""
    async with hooks_after(session):
        try:
            async with transaction(session):
                yield session
        finally:
            if session.in_transaction():
                await _settle(session, session.close())
            _guard(session).ended = True


@asynccontextmanager
async def transaction(session: AsyncSession) -> AsyncIterator[AsyncSession]:
    """Commit or roll back when the block ends, then run the hooks."""
    async with hooks_after(session), _commit_or_rollback(session):
        yield session


@asynccontextmanager
async def _commit_or_rollback(session: AsyncSession) -> AsyncIterator[None]:
    """Commit when the block ends, roll back on any exception that leaves it, cancellation included.

    This is the only place in the library that decides between the two. A session that ran no
    statement has nothing to end and touches no connection.
    """
    try:
        yield
    except BaseException:
        await _rollback(session)
        raise
    if _guard(session).cut_off():
        logger.info("A response was cut off before it ended; what it wrote is rolled back.")
        await _rollback(session)
    elif session.in_transaction():
        await _settle(session, session.commit())


async def _rollback(session: AsyncSession) -> None:
    if session.in_transaction():
        await _settle(session, _rollback_when_free(session))
    _guard(session).hooks.end(committed=False)


async def _rollback_when_free(session: AsyncSession) -> None:
    """Roll back behind a call that another task is in the middle of."""
    guard = _guard(session)
    if guard.user is not None:
        guard.free = asyncio.Event()
        await guard.free.wait()
    await session.rollback()


async def _settle(session: AsyncSession, work: Coroutine[Any, Any, None]) -> None:
    """Commit, roll back or close to the end, while others wait."""
    guard = _guard(session)
    guard.settling = asyncio.create_task(work)
    try:
        await finish(guard.settling)
    finally:
        guard.settling = None
        if guard.postponed:
            session.add_all(guard.postponed)
            guard.postponed.clear()


def _current_task() -> asyncio.Task[Any] | None:
    """Return the running task; there is none in the thread of a ``def`` endpoint."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def _name(task: asyncio.Task[Any] | None) -> str:
    """Return what a log calls the task: its name and what it runs."""
    if task is None:
        return "A thread"
    work = task.get_coro()
    return f"{task.get_name()} ({getattr(work, '__qualname__', work)})"


def _guard(session: AsyncSession) -> SessionGuard:
    return cast(SessionGuard, session.sync_session)


def begin_each_with(session: AsyncSession, step: Callable[[Connection], None]) -> None:
    """Run the step first in each of the session's transactions; if it raises, nothing else runs."""
    _guard(session).first_step = step


def expect_streamers(session: AsyncSession) -> None:
    """Say that the handler's transaction is over and a stream or background tasks may follow."""
    _guard(session).expect_streamers()
