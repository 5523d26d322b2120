"""Functions that run after a transaction: ``on_commit`` and ``on_rollback``."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, ParamSpec

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session, SessionTransaction

from fastapi_asyncdb import finishing
from fastapi_asyncdb.concurrency import current_task
from fastapi_asyncdb.engine import seam
from fastapi_asyncdb.errors import SessionError

logger = logging.getLogger(__name__)
P = ParamSpec("P")

# The hooks that run; tasks that a hook starts inherit it.
_running: ContextVar[Hooks | None] = ContextVar("fastapi_asyncdb.hooks", default=None)


def on_commit(
    session: AsyncSession | Session,
    fn: Callable[P, object],
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> None:
    """Call ``fn(*args, **kwargs)`` once the session's work is committed, and only then.

    For mail, messages and cache updates. Hooks run in the order of registration, after the outermost
    commit, when the connection is back in the pool; in a request, before the response starts. A
    savepoint that is rolled back takes its hooks with it.

    Without a transaction, and in a reading session, the hook runs after the next commit, or when the
    request or the ``async with`` block ends well.

    A hook that fails is logged, and the others run. One that needs the database opens
    ``database.session()``: this session is between two transactions. No hook runs when the connection
    is lost during COMMIT.

    Args:
        session: A session of this library, or what ``run_sync`` makes of it.
        fn: A function or coroutine function. A plain function runs on the event loop.
        *args: Passed to ``fn``.
        **kwargs: Passed to ``fn``.

    Raises:
        TypeError: ``fn`` cannot be called, or the session is not from this library.
        SessionClosed: the session has ended.
    """
    register(session, Hook(fn, args, kwargs, after_commit=True))


def on_rollback(
    session: AsyncSession | Session,
    fn: Callable[P, object],
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> None:
    """Call ``fn(*args, **kwargs)`` once the session's work is rolled back, and only then.

    For what a rollback does not undo: an uploaded file, a reservation elsewhere. As ``on_commit``
    otherwise. A hook of a savepoint that is rolled back runs whatever becomes of the rest, but not
    before the outermost transaction has ended: until then its connection is in use.

    Args:
        session: As for ``on_commit``, like ``fn`` and its arguments.
        fn: A function or coroutine function.
        *args: Passed to ``fn``.
        **kwargs: Passed to ``fn``.

    Raises:
        TypeError: ``fn`` cannot be called, or the session is not from this library.
        SessionClosed: the session has ended.
    """
    register(session, Hook(fn, args, kwargs, after_commit=False))


@dataclass(slots=True, eq=False)
class Hook:
    """A function, its arguments, and the end of a transaction that it waits for."""

    fn: Callable[..., object]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    after_commit: bool
    savepoint: SessionTransaction | None = None
    """The innermost savepoint that decides about it; without one the outermost transaction does."""
    undone: bool = False
    """Whether a savepoint has decided, and was rolled back."""
    before: Callable[..., object] | None = None
    """Called with the same arguments before the COMMIT; see ``before_commit``."""

    def __str__(self) -> str:
        kind = "on_commit" if self.after_commit else "on_rollback"
        return f"{kind} hook {getattr(self.fn, '__qualname__', None) or repr(self.fn)}"

    def is_due(self, *, committed: bool) -> bool:
        """Return whether it runs after this end of the outermost transaction."""
        return self.after_commit == (committed and not self.undone)

    async def call(self) -> None:
        """Run it, and log what it raises."""
        try:
            result = self.fn(*self.args, **self.kwargs)
            if inspect.isawaitable(result):
                await result
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            logger.exception("The %s was cancelled from inside.", self)
        except Exception:
            logger.exception("The %s failed; the transaction had ended before it ran.", self)


@dataclass(slots=True, eq=False)
class Hooks:
    """The hooks of one session: those that wait for a transaction to end, and those due now."""

    waiting: list[Hook] = field(default_factory=list)
    due: list[Hook] = field(default_factory=list)
    postponed: list[Hook] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.waiting or self.due)

    def register(self, hook: Hook, session: Session) -> None:
        """Add a hook; the innermost savepoint decides about it."""
        hook.savepoint = session.get_nested_transaction()
        self.waiting.append(hook)

    def postpone(self, hook: Hook) -> None:
        """Add a hook that comes from another task while a transaction ends: it is for the next."""
        self.postponed.append(hook)

    def next_transaction(self) -> None:
        """Note that the transaction is over, and what was postponed waits for the next."""
        self.waiting += self.postponed
        self.postponed.clear()

    def end(self, *, committed: bool) -> None:
        """Make the hooks due that wait for this end of the outermost transaction; drop the rest."""
        if not self.waiting:
            return
        self.due += [hook for hook in self.waiting if hook.is_due(committed=committed)]
        self.waiting.clear()

    def take(self) -> list[Hook]:
        """Return the hooks that are due, once, without those that a test's filter refuses."""
        due, self.due = self.due, []
        return [hook for hook in due if _may_run(hook)] if seam.commit_hook_filters else due

    def release(self, savepoint: SessionTransaction) -> None:
        """Let the enclosing savepoint or transaction decide about the hooks of a savepoint."""
        for hook in self.waiting:
            if hook.savepoint is savepoint:
                hook.savepoint = _enclosing(savepoint)

    def undo(self, savepoint: SessionTransaction) -> None:
        """Let the hooks of a savepoint end as after a rollback of the outermost transaction."""
        for hook in self.waiting:
            if hook.savepoint is savepoint:
                hook.savepoint, hook.undone = None, True

    def forget(self) -> None:
        """Run neither kind: the outcome of the transaction is unknown."""
        if self:
            names = ", ".join(str(hook) for hook in self.due + self.waiting)
            logger.error("The outcome of a COMMIT is unknown, so these were not run: %s", names)
        self.waiting.clear()
        self.due.clear()

    async def run_due(self) -> None:
        """Run the hooks that are due, although the caller is cancelled: the commit has happened.

        Hooks may take as long as their caller waits for them, and a grace period longer.
        """
        due = self.take()
        if due:
            await finishing.finish(self._run(due), grace=lambda: finishing.GRACE.ending)

    async def _run(self, due: list[Hook]) -> None:
        _running.set(self)
        for position, hook in enumerate(due):
            try:
                await hook.call()
            except asyncio.CancelledError:
                logger.error(  # noqa: TRY400 - the traceback would add nothing
                    "The %s was cut off: its caller was cancelled, and it did not end within %g s. "
                    "These were not run: %s",
                    hook,
                    finishing.GRACE.ending,
                    ", ".join(map(str, due[position + 1 :])) or "none",
                )
                raise

    def refuse_use(self) -> None:
        """Refuse a hook that uses its own session, which is between two transactions.

        Raises:
            SessionError: the running task is a hook of this session, or was started by one.
        """
        if _running.get() is self:
            raise SessionError(
                "A hook used the session that it was registered on, whose transaction is over: what "
                "it writes now would be acknowledged before it is committed. Open a session in the "
                "hook: 'async with database.session() as session:'."
            )


def _may_run(hook: Hook) -> bool:
    # A list: each filter sees each hook, also one that another filter stops.
    verdicts = [wanted(hook) for wanted in seam.commit_hook_filters if hook.after_commit]
    return all(verdicts)


def register(session: AsyncSession | Session, hook: Hook) -> Session:
    """Add a hook to a session, and return the ``Session`` inside of it."""
    if not callable(hook.fn):
        raise TypeError(
            f"A hook is a function and its arguments, not {hook.fn!r}: write on_commit(session, "
            "send, mail), not on_commit(session, send(mail))."
        )
    sync_session = session.sync_session if isinstance(session, AsyncSession) else session
    state: Any = getattr(sync_session, "_asyncdb", None)
    if state is None:
        raise TypeError(
            f"{session!r} runs no hooks. Use a session that this library opened: DB in a request, "
            "'async with database.session() as session:' elsewhere."
        )
    state.check_open()
    if state.hooks is None:
        state.hooks = Hooks()
    if state.tasks.is_ending_in_another(current_task()):
        state.hooks.postpone(hook)
    else:
        state.hooks.register(hook, sync_session)
    return sync_session


def _enclosing(savepoint: SessionTransaction) -> SessionTransaction | None:
    parent = savepoint.parent
    while parent is not None and not parent.nested:
        parent = parent.parent
    return parent
