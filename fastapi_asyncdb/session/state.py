"""What the library adds to a ``Session``: who may use it, when, and what it refuses.

Ends no transaction itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal
from weakref import ref

from sqlalchemy import Connection, Engine, event
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import SessionTransaction

from fastapi_asyncdb.concurrency import await_only, current_task, greenlet_spawn, task_name
from fastapi_asyncdb.dialects.reading_streams import Streams, open_streams
from fastapi_asyncdb.engine.failed_transactions import refuse_aborted
from fastapi_asyncdb.errors import ConcurrentSessionUse, SessionClosed, TransactionAborted
from fastapi_asyncdb.pool.checkout_warnings import Hold
from fastapi_asyncdb.session.detached import KeptValues
from fastapi_asyncdb.session.hooks import HookedSession


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
    late_bind: Callable[[], Engine] | None = None
    """Returns the engine, for a session that was opened before there was one."""
    hold: Hold | None = None
    """Who watches how long a connection is held, if anybody does."""
    lets_go: Literal["kept", "expired"] | None = None
    """Whether a rollback detaches the objects, and with which values. SQLAlchemy's own does not."""
    removed: list[ref[object]] | None = None
    """What the transaction has deleted and flushed."""
    kept: KeptValues | None = None
    """What was detached, while it is rolled back."""

    postponed: tuple[object, ...] = ()
    """What was added while a commit was under way."""
    connections: tuple[Connection, ...] = ()
    """Those that take part in the transaction."""
    streams: Streams | None = None
    """The streams of a reading session, if it has opened any."""

    def add(self, instance: object, *args: Any, **kwargs: Any) -> None:
        """Add an object; one that comes while a commit is under way belongs to the next."""
        if self.settling in (None, current_task()):
            super().add(instance, *args, **kwargs)
        else:
            self.postponed += (instance,)
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
        task = current_task()
        if self.streamers is not None and task is not None:
            self.streamers.add(task)

    def get_bind(self, *args: Any, **kwargs: Any) -> Engine | Connection:
        """Choose the engine, as SQLAlchemy does before each statement, if the session may go on."""
        # Attributes first: most sessions are in a handler, and are asked several times there.
        if self.ended or self.streamers is not None or self.failed_begin is not None:
            self.check_usable()
        if self.user is not None:
            self.refuse_concurrent_use()
        self.refuse_hooks()
        if self.late_bind is not None:
            self.bind, self.late_bind = self.late_bind(), None
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
        if not self.streamers:
            return False
        return any(task.done() and task.cancelled() for task in self.streamers)

    def refuse_concurrent_use(self) -> None:
        """Refuse a task that comes while another one is in the middle of a call."""
        if self.user is None:
            return
        task = current_task()
        if self.user is not task:
            raise ConcurrentSessionUse(
                f"{task_name(task)} uses this session while {task_name(self.user)} is using it, "
                "and a session does one thing at a time. Await one after the other, or give each task a "
                "session of its own: 'async with database.session()'."
            )

    def time_to_commit(self) -> float:
        """Return the seconds for a commit whose caller is cancelled: none before its connection."""
        return self.patience if self.connections else 0

    def note_streams(self) -> None:
        """Note the streams that were opened, whose rows are fetched in turn as well."""
        for connection in self.connections:
            streams = open_streams(connection)
            if streams is not None:
                streams.turn_of = ref(self)
                self.streams = streams

    async def end_left_streams(self) -> None:
        """End the snapshot of streams that a loop has left in the middle."""
        if self.streams is not None and not self.streams:
            streams, self.streams = self.streams, None
            await greenlet_spawn(streams.end_if_left)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Let nobody else use the session in a block; a commit or rollback is waited for."""
        if self.settling is not None:
            await_only(self.until_settled())
        self.refuse_concurrent_use()
        before, self.user = self.user, current_task()
        try:
            yield
        finally:
            self.user = before
            if before is None and self.free is not None:
                self.free.set()

    async def until_settled(self) -> None:
        """Wait for the end of a commit or rollback that another task has begun."""
        while self.settling is not None and self.settling is not current_task():
            await asyncio.wait([self.settling])

    async def until_free(self) -> None:
        """Wait for the end of a call that another task is in the middle of."""
        while self.user not in (None, current_task()):
            self.free = asyncio.Event()
            await self.free.wait()

    def rollback(self) -> None:
        """Roll back, and forget the tasks whose work is undone by it."""
        self.keep_values()
        try:
            if self.failed_begin is not None and not self.failed_begin.in_transaction():
                # The first step has rolled back already; SQLAlchemy would warn of the second time.
                self.close()
            else:
                super().rollback()
        finally:
            self.let_go()
        if self.streamers:
            self.streamers.clear()

    def keep_values(self) -> None:
        """Detach the objects before they are expired, if their values are to be kept."""
        if self.lets_go == "kept" and self.kept is None:
            self.kept = KeptValues(self, self.removed or ())

    def let_go(self) -> None:
        """Detach the objects that a rollback has left, if it was for good."""
        if self.kept is not None:
            self.kept.restore()
            self.kept = None
        elif self.lets_go == "expired":
            self.expunge_all()


_BEGIN_FAILED = (
    "on_begin raised when this transaction began, and its statements must not run without it. Let the "
    "error pass, or call 'await db.rollback()' before the session is used again."
)


@event.listens_for(SessionGuard, "after_begin", propagate=True)
def _after_begin(
    session: SessionGuard, transaction: SessionTransaction, connection: Connection
) -> None:
    if session.first_step is not None and not transaction.nested:
        _take_first_step(session, session.first_step, connection)
    if connection not in session.connections:
        session.connections += (connection,)
    if session.hold is not None:
        session.hold.take(connection)


def _take_first_step(
    session: SessionGuard, step: Callable[[Connection], None], connection: Connection
) -> None:
    if session.bind is None or connection.engine is not session.bind.engine:
        return  # another database
    try:
        step(connection)
    except BaseException:
        session.failed_begin = connection
        raise


@event.listens_for(SessionGuard, "before_commit", propagate=True)
def _before_commit(session: SessionGuard) -> None:
    if session.failed_begin is not None:
        raise TransactionAborted(_BEGIN_FAILED)
    for connection in session.connections:
        refuse_aborted(connection)


@event.listens_for(SessionGuard, "after_rollback", propagate=True)
def _after_rollback(session: SessionGuard) -> None:
    # Before the objects are expired. A flush that fails rolls back like this, by itself.
    if session.get_nested_transaction() is None:
        session.keep_values()


@event.listens_for(SessionGuard, "persistent_to_deleted", propagate=True)
def _remember_removed(session: SessionGuard, instance: object) -> None:
    session.removed = session.removed or []
    session.removed.append(ref(instance))


@event.listens_for(SessionGuard, "after_transaction_end", propagate=True)
def _after_transaction_end(session: SessionGuard, transaction: SessionTransaction) -> None:
    if transaction.parent is None:
        session.failed_begin = None
        session.connections = ()
        session.removed = None
        if session.hold is not None:
            session.hold.give_back()


@event.listens_for(SessionGuard, "before_attach", propagate=True)
def _refuse_objects(session: SessionGuard, instance: object) -> None:
    session.check_usable()


def guard_of(session: AsyncSession) -> SessionGuard:
    """Return the guard of a session of this library."""
    return session.sync_session  # type: ignore[return-value]
