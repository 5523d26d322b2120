"""What the library knows of one session, and which task may use it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Literal
from weakref import ref

from sqlalchemy import Connection, Engine
from sqlalchemy.orm import Session, SessionTransaction

from fastapi_asyncdb.concurrency import await_only, current_task, greenlet_spawn, task_name
from fastapi_asyncdb.dialects.reading_streams import Streams, open_streams
from fastapi_asyncdb.errors import ConcurrentSessionUse, SessionClosed, TransactionAborted
from fastapi_asyncdb.finishing import caller_of
from fastapi_asyncdb.pool.checkout_warnings import Checkout, CheckoutWatch
from fastapi_asyncdb.session.detached import Detached
from fastapi_asyncdb.session.hooks import Hooks

LetsGo = Literal["kept", "expired"] | None
"""Which values objects have that a rollback detaches; ``None`` leaves them in the session."""


class SessionState:
    """What the library knows of one session.

    Args:
        session: The session.
        in_place: Whether the driver ends a transaction without a timeout of its own, so that the
            caller's task can do it.
        request: The request's ``HTTPConnection``, or ``None`` outside of requests.
        watch: Warns of a connection that is checked out for too long.
        first_step: Comes first in each transaction, on its connection.
        late_bind: Returns the engine, for a session that was opened before there was one.
    """

    __slots__ = (
        "__weakref__",
        "_after_response",
        "_checkout",
        "_detached",
        "_request",
        "_watch",
        "closed",
        "connections",
        "ending",
        "failed_begin",
        "first_step",
        "free",
        "hooks",
        "in_place",
        "late_bind",
        "lets_go",
        "postponed",
        "savepoints",
        "session",
        "streams",
        "user",
        "watched",
    )

    def __init__(
        self,
        session: Session,
        *,
        in_place: bool,
        request: object,
        watch: CheckoutWatch | None,
        first_step: Callable[[Connection], None] | None,
        late_bind: Callable[[], Engine] | None,
    ) -> None:
        self.session = session
        self.in_place = in_place
        self._request = request
        self._watch = watch
        self.first_step = first_step
        self.late_bind = late_bind
        self.watched = late_bind is not None
        """Whether more has to be checked before a statement than which task sends it."""
        self.closed = False
        self.user: asyncio.Task[Any] | None = None
        """The task that is in the middle of a call."""
        self.ending: asyncio.Task[Any] | None = None
        """The task that ends the transaction."""
        self.free: asyncio.Future[None] | None = None
        """Done when the call or the end that is under way is over; made by the task that waits."""
        self.connections: tuple[Connection, ...] = ()
        """Those that take part in the transaction."""
        self._checkout: Checkout | None = None
        self.failed_begin: Connection | None = None
        """Where the first step raised; nothing may run in such a transaction."""
        self.savepoints: dict[SessionTransaction, asyncio.Task[Any] | None] | None = None
        """Those that are open, and the tasks that opened them; made with the first one."""
        self.streams: Streams | None = None
        """The streams of a reading session, once it has opened any."""
        self.hooks: Hooks | None = None
        """Made with the first one."""
        self.lets_go: LetsGo = None
        """Whether a rollback now is the library's own, and detaches the objects."""
        self._detached: Detached | None = None
        self.postponed: tuple[object, ...] = ()
        """What was added while a commit was under way."""
        self._after_response: set[asyncio.Task[Any]] | None = None
        """The tasks that used the session since the handler was done; ``None`` until then."""

    # --- Which task uses it -----------------------------------------------------------------------

    def check_usable(self) -> None:
        """Refuse a session that may not go on, another task's call, and its own hooks.

        Raises:
            SessionClosed: it has ended.
            TransactionAborted: its stream was cut off, or ``on_begin`` failed.
            ConcurrentSessionUse: another task is in the middle of a call.
            SessionError: a hook uses its own session.
            DatabaseNotStarted: it was opened before its ``Database`` started, and that has not.
        """
        self.check_open()
        if self.user is not None:
            self.refuse_other(current_task())
        if self.hooks is not None:
            self.hooks.refuse_use()
        if self.late_bind is not None:
            self.session.bind, self.late_bind = self.late_bind(), None

    def check_open(self) -> None:
        """Refuse a session that may not go on; note which task uses it.

        Raises:
            SessionClosed: it has ended.
            TransactionAborted: its stream was cut off, or ``on_begin`` failed.
        """
        if self.closed:
            raise SessionClosed(
                "This session has ended: its request, or its 'async with' block, is over. Open a "
                "new one with 'async with database.session() as session:' (default_database is the "
                "Database behind DB)."
            )
        if self.cut_off:
            raise TransactionAborted(
                "The response that used this session was cut off, most likely because the client "
                "left, and what it did is to be rolled back. Call 'await db.rollback()' first, or "
                "use a session of your own: 'async with database.session()'."
            )
        if self.failed_begin is not None:
            raise TransactionAborted(BEGIN_FAILED)
        self._remember(current_task())

    def refuse_other(self, task: asyncio.Task[Any] | None) -> None:
        """Refuse a task that comes while another one is in the middle of a call.

        Raises:
            ConcurrentSessionUse: it does.
        """
        if self.user not in (None, task):
            raise ConcurrentSessionUse(
                f"{task_name(task)} uses this session while {task_name(self.user)} is using it, "
                "and a session does one thing at a time. Await one after the other, or give each task a "
                "session of its own: 'async with database.session()'."
            )

    def add_savepoint(self, savepoint: SessionTransaction | None) -> None:
        """Note which task has opened a savepoint."""
        if savepoint is not None:
            self.savepoints = self.savepoints or {}
            self.savepoints[savepoint] = current_task()

    def refuse_overlap(self, block: SessionTransaction | None) -> None:
        """Refuse to commit a block in which another task has a savepoint open.

        Raises:
            ConcurrentSessionUse: it has, and is still running.
        """
        innermost = self.session.get_nested_transaction()
        if innermost is None or innermost is block or self.savepoints is None:
            return
        task = self.savepoints.get(innermost)
        if task is not None and task is not current_task() and not task.done():
            raise ConcurrentSessionUse(
                f"{task_name(current_task())} ends a block of this session while {task_name(task)} has "
                "a savepoint open inside of it. Await the task before the block ends, or give it a "
                "session of its own: 'async with database.session()'."
            )

    def postpones(self, instance: object) -> bool:
        """Keep an object for the next transaction if another task is ending this one."""
        task = current_task()
        if self.ending in (None, task) or (task and caller_of(task) is self.ending):
            return False
        self.postponed += (instance,)
        self.expect_tasks_after_response()
        self._remember(task)
        return True

    async def after_call(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Await the work once another task's call is over."""
        while self.user not in (None, self.ending):
            await self._until_free()
        await work()

    async def until_ended(self) -> None:
        """Wait for the commit or rollback that another task has under way."""
        while self.ending not in (None, asyncio.current_task()):
            await self._until_free()

    async def _until_free(self) -> None:
        if self.free is None:
            self.free = asyncio.get_running_loop().create_future()
        await asyncio.wait([self.free])

    def end_is_over(self) -> None:
        """Let other tasks use the session again, and add what they have added meanwhile."""
        self.ending = None
        if self.free is not None:
            self.wake()
        if self.postponed:
            postponed, self.postponed = self.postponed, ()
            self.session.add_all(postponed)

    def wake(self) -> None:
        """Let the tasks go on that wait for a call or an end."""
        if self.free is not None:
            self.free.set_result(None)
            self.free = None

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Use the session in a block, from a greenlet: for the rows of a stream."""
        if self.ending is not None:
            await_only(self.until_ended())
        task = current_task()
        self.refuse_other(task)
        before, self.user = self.user, task
        try:
            yield
        finally:
            self.user = before
            if before is None:
                self.wake()

    # --- Connections and streams ------------------------------------------------------------------

    def add_connection(self, connection: Connection) -> None:
        """Note a connection that takes part in the transaction, and watch its checkout."""
        if connection in self.connections:
            return
        self.connections += (connection,)
        if self._watch is not None:
            if self._checkout is not None:
                self._watch.end(self._checkout)
            at_end = self.ending is not None
            self._checkout = self._watch.begin(self._request, connection, at_end=at_end)

    def forget_connections(self) -> None:
        """Note that the transaction is over, and its connections are returned."""
        self.failed_begin = None
        self.connections = ()
        if self._detached is not None:
            self._detached.forget_deleted()
        if self._watch is not None and self._checkout is not None:
            self._watch.end(self._checkout)
            self._checkout = None

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

    # --- Objects ----------------------------------------------------------------------------------

    def add_deleted(self, instance: object) -> None:
        """Note an object that a flush has deleted."""
        self._objects().add_deleted(instance)

    def keep_values(self) -> None:
        """Detach the objects before a rollback expires them, if their values are to be kept."""
        if self.lets_go == "kept":
            self._objects().keep_values()

    def let_go(self) -> None:
        """Detach the objects that the library's own rollback has left."""
        if self.lets_go == "expired":
            self.session.expunge_all()
        elif self._detached is not None:
            self._detached.restore()

    def _objects(self) -> Detached:
        if self._detached is None:
            self._detached = Detached(self.session)
        return self._detached

    # --- After the response -----------------------------------------------------------------------

    def expect_tasks_after_response(self) -> None:
        """Note from now on which tasks use the session: the handler is done, a stream may follow.

        A response may be streamed by a task of its own. When the client leaves, Starlette cancels
        that task and goes on as if the stream had ended; only the task itself knows better.
        """
        if self._after_response is None:
            self._after_response = set()
            self.watched = True

    @property
    def cut_off(self) -> bool:
        """Whether a task that used the session after the response was cancelled."""
        return any(task.done() and task.cancelled() for task in self._after_response or ())

    def _remember(self, task: asyncio.Task[Any] | None) -> None:
        if self._after_response is not None and task is not None:
            self._after_response.add(task)

    def rolled_back(self) -> None:
        """Forget what a rollback undoes: tasks that were cut off, hooks without a transaction."""
        if self._after_response:
            self._after_response.clear()
        if self.hooks is not None:
            self.hooks.end(committed=False)

    def close(self) -> None:
        """Refuse all further use."""
        self.closed = self.watched = True

    def watch_hooks(self, *, running: bool) -> None:
        """Look at each use of the session while its hooks run."""
        self.watched = running or self.closed or self._after_response is not None


BEGIN_FAILED = (
    "on_begin raised when this transaction began, and its statements must not run without it. Let the "
    "error pass, or call 'await db.rollback()' before the session is used again."
)
