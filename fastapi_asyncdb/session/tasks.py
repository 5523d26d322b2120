"""The tasks that use one session: one at a time, some of them after the response."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy.orm import Session, SessionTransaction

from fastapi_asyncdb.concurrency import await_only, current_task, task_name
from fastapi_asyncdb.errors import ConcurrentSessionUse
from fastapi_asyncdb.finishing import caller_of


class SessionTasks:
    """The tasks that use one session.

    A task waits for a commit or rollback that is under way: FastAPI starts a stream of server-sent
    events before the handler's commit. A call while another task is in one is refused: asyncpg would
    hide the mistake by running one after the other, in an order that depends on chance.
    """

    __slots__ = ("_savepoints", "after_response", "ending", "free", "user")

    user: asyncio.Task[Any] | None
    """The task that is in the middle of a call."""
    ending: asyncio.Task[Any] | None
    """The task that ends the transaction."""
    free: asyncio.Future[None] | None
    """Done when the call or the end that is under way is over; made by the task that waits."""

    def __init__(self) -> None:
        self.user = self.ending = self.free = None
        self.after_response: set[asyncio.Task[Any]] | None = None
        """The tasks that used the session since the handler was done; ``None`` until then.

        A response may be streamed by a task of its own. When the client leaves, Starlette cancels that
        task and goes on as if the stream had ended; only the task itself knows better."""
        # The tasks that opened the savepoints that are open; made with the first one.
        self._savepoints: dict[SessionTransaction, asyncio.Task[Any] | None] | None = None

    # --- One at a time ----------------------------------------------------------------------------

    def refuse_other(self, task: asyncio.Task[Any] | None) -> None:
        """Refuse a task that comes while another one is in the middle of a call.

        Raises:
            ConcurrentSessionUse: it does.
        """
        if self.user not in (None, task):
            raise ConcurrentSessionUse(
                f"{task_name(task)} uses this session while {task_name(self.user)} is using it, "
                "and a session does one thing at a time. Await one after the other, or give each task a "
                "session of its own: 'async with database.session()', or 'database.gather()' for reads."
            )

    @contextmanager
    def exclusive(self) -> Iterator[None]:
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

    def wake(self) -> None:
        """Let the tasks go on that wait for a call or an end."""
        if self.free is not None:
            self.free.set_result(None)
            self.free = None

    @property
    def is_ending_here(self) -> bool:
        """Whether the running task ends the transaction, or another one on its behalf."""
        return self.ending is not None and not self.is_ending_in_another(current_task())

    def is_ending_in_another(self, task: asyncio.Task[Any] | None) -> bool:
        """Return whether another task ends the transaction, for itself and not on behalf of this one."""
        if self.ending in (None, task):
            return False
        return task is None or caller_of(task) is not self.ending

    # --- Savepoints -------------------------------------------------------------------------------

    def add_savepoint(self, savepoint: SessionTransaction) -> None:
        """Note which task has opened a savepoint."""
        self._savepoints = self._savepoints or {}
        self._savepoints[savepoint] = current_task()

    def remove_savepoint(self, savepoint: SessionTransaction) -> None:
        """Note that a savepoint was released, or rolled back to."""
        if self._savepoints is not None:
            self._savepoints.pop(savepoint, None)

    def refuse_overlap(self, session: Session, block: SessionTransaction | None) -> None:
        """Refuse to commit a block in which another task has a savepoint open.

        Raises:
            ConcurrentSessionUse: it has, and is still running.
        """
        innermost = session.get_nested_transaction()
        if innermost is None or innermost is block or self._savepoints is None:
            return
        task = self._savepoints.get(innermost)
        if task is not None and task is not current_task() and not task.done():
            raise ConcurrentSessionUse(
                f"{task_name(current_task())} ends a block of this session while {task_name(task)} has "
                "a savepoint open inside of it. Await the task before the block ends, or give it a "
                "session of its own: 'async with database.session()'."
            )

    # --- After the response -----------------------------------------------------------------------

    @property
    def are_expected(self) -> bool:
        """Whether the handler is done, and a stream or a background task may follow."""
        return self.after_response is not None

    @property
    def cut_off(self) -> bool:
        """Whether a task that used the session after the response was cancelled."""
        if not self.after_response:
            return False
        return any(task.done() and task.cancelled() for task in self.after_response)

    def remember(self, task: asyncio.Task[Any] | None) -> None:
        """Note a task that uses the session, once the handler is done."""
        if self.after_response is not None and task is not None:
            self.after_response.add(task)

    def forget(self) -> None:
        """Forget the tasks whose work is rolled back."""
        if self.after_response:
            self.after_response.clear()
