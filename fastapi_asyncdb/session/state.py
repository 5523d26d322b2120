"""``SessionState``: what the library knows of one session."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Literal, cast
from weakref import ref

from sqlalchemy import Connection, Engine
from sqlalchemy.orm import Session, object_mapper

from fastapi_asyncdb.concurrency import current_task
from fastapi_asyncdb.errors import SessionClosed, TransactionAborted
from fastapi_asyncdb.pool.checkout_warnings import CheckoutWatch
from fastapi_asyncdb.session.connections import SessionConnections
from fastapi_asyncdb.session.detached import Detached
from fastapi_asyncdb.session.hooks import Hooks
from fastapi_asyncdb.session.tasks import SessionTasks

LetsGo = Literal["kept", "expired"] | None
"""Which values objects have that a rollback detaches; ``None`` leaves them in the session."""


class SessionState:
    """What the library knows of one session.

    Args:
        session: The session.
        in_place: Whether the driver ends a transaction without a timeout of its own, so that the
            caller's task can do it.
        reads: Whether it reads in autocommit, and so needs no connection between two statements.
        request: The request's ``HTTPConnection``, or ``None`` outside of requests.
        watch: Warns of a connection that is checked out for too long.
        first_step: Called first in each transaction, with its connection.
        late_bind: Returns the engine, for a session that was opened before there was one.
        binds_anew: Whether it does so at the begin of each transaction, and not of the first alone.
    """

    __slots__ = (
        "_bind_anew",
        "_detached",
        "_postponed",
        "_running_hooks",
        "closed",
        "connections",
        "failed_begin",
        "first_step",
        "hooks",
        "in_place",
        "is_answering",
        "late_bind",
        "lets_go",
        "owner",
        "session",
        "tasks",
        "watched",
    )

    def __init__(
        self,
        session: Session,
        *,
        in_place: bool,
        reads: bool,
        request: object,
        watch: CheckoutWatch | None,
        first_step: Callable[[Connection], None] | None,
        late_bind: Callable[[], Engine] | None,
        binds_anew: bool = False,
    ) -> None:
        # Called for the session. It is weak, since the session has its state: a circle would stay, with
        # the request and all it has, until the garbage collector finds it.
        self.session = cast("Callable[[], Session]", ref(session))
        self.in_place = in_place
        self.owner: asyncio.Task[Any] | None = asyncio.current_task()
        """The task that has opened the session; ``None`` once it is closed."""
        self.first_step = first_step
        self.late_bind = late_bind
        self._bind_anew = late_bind if binds_anew else None
        self.watched = late_bind is not None
        """Whether a statement needs further checks than that of the task that sends it."""
        self.closed = False
        self.is_answering = False
        """Whether the handler is done, and what comes now may belong to the response."""
        self._running_hooks = 0
        self.tasks = SessionTasks()
        self.connections = SessionConnections(
            session, self.tasks, reads=reads, request=request, watch=watch
        )
        self.failed_begin: Connection | None = None
        """Where the first step raised; nothing may run in such a transaction."""
        self.hooks: Hooks | None = None
        """Made with the first one."""
        self.lets_go: LetsGo = None
        """Whether a rollback now is the library's own, and detaches the objects."""
        self._detached: Detached | None = None
        self._postponed: tuple[object, ...] = ()
        # What was added while a commit was under way.

    # --- Use --------------------------------------------------------------------------------------

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
        self.tasks.refuse_other(current_task())
        if self.hooks is not None:
            self.hooks.refuse_use()
        if self.late_bind is not None:
            self.session().bind, self.late_bind = self.late_bind(), None

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
        if self.tasks.cut_off:
            raise TransactionAborted(
                "The response that used this session was cut off, most likely because the client "
                "left, and what it did is to be rolled back. Call 'await db.rollback()' first, or "
                "use a session of your own: 'async with database.session()'."
            )
        if self.failed_begin is not None:
            raise TransactionAborted(BEGIN_FAILED)
        self.tasks.remember(current_task())

    @property
    def request(self) -> object:
        """The request's ``HTTPConnection``, or ``None`` outside of requests."""
        return self.connections.request

    def is_at_rest(self) -> bool:
        """Return whether there is nothing to end, and no task has used it since the handler was done."""
        if self.session().in_transaction() or self.hooks or self.tasks.after_response:
            return False
        return not (self.connections.reads and self.has_changes())

    def has_changes(self) -> bool:
        """Return whether there is anything to flush; in a reading session also between transactions."""
        return not self.session()._is_clean()

    def postpones(self, instance: object) -> bool:
        """Keep an object for the next transaction if another task is ending this one."""
        task = current_task()
        if not self.tasks.is_ending_in_another(task):
            return False
        object_mapper(instance)  # its error belongs to this task, not to the one that commits
        self._postponed += (instance,)
        if self.is_answering:
            self.expect_tasks_after_response()
            self.tasks.remember(task)
        return True

    def end_is_over(self) -> None:
        """Let other tasks use the session again, and add what they have added meanwhile."""
        self.tasks.ending = None
        if self.tasks.free is not None:
            self.tasks.wake()
        if self._postponed:
            postponed, self._postponed = self._postponed, ()
            if not self.closed and not self.tasks.cut_off:  # else they are not to be stored
                self.session().add_all(postponed)

    def end_of_transaction(self) -> None:
        """Note that the transaction is over, and its connections are returned."""
        self.failed_begin = None
        self.connections.forget()
        if self._bind_anew is not None:
            self.late_bind, self.watched = self._bind_anew, True
        if self._detached is not None:
            self._detached.forget_deleted()

    # --- Objects ----------------------------------------------------------------------------------

    def add_deleted(self, instance: object) -> None:
        """Note an object that a flush has deleted."""
        self._objects().add_deleted(instance)

    def keep_values(self) -> None:
        """Detach the objects before a rollback expires them, if their values are to be kept."""
        if self.lets_go == "kept":
            self._objects().keep_values(self.session())

    def let_go(self) -> None:
        """Detach the objects that the library's own rollback has left."""
        if self.lets_go == "expired":
            self.session().expunge_all()
        elif self._detached is not None:
            self._detached.restore(self.session())

    def _objects(self) -> Detached:
        if self._detached is None:
            self._detached = Detached()
        return self._detached

    # --- Watching ---------------------------------------------------------------------------------

    def expect_tasks_after_response(self) -> None:
        """Note from now on which tasks use the session: a stream may follow."""
        if self.tasks.after_response is None:
            self.tasks.after_response = set()
        self.watched = True

    def watch_hooks(self, *, running: bool) -> None:
        """Look at each use of the session while its hooks run, of two ends perhaps."""
        self._running_hooks += 1 if running else -1
        self.watched = (
            self._running_hooks > 0
            or self.closed
            or self.tasks.are_expected
            or self.failed_begin is not None
            or self.late_bind is not None
        )

    def rolled_back(self) -> None:
        """Forget what a rollback undoes: tasks that were cut off, hooks without a transaction."""
        self.tasks.forget()
        if self.hooks is not None:
            self.hooks.end(committed=False)


BEGIN_FAILED = (
    "on_begin raised when this transaction began, and its statements must not run without it. Let the "
    "error pass, or call 'await db.rollback()' before the session is used again."
)
