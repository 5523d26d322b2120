"""What runs after a transaction: ``on_commit`` and ``on_rollback``. Ends no transaction itself."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from sqlalchemy import event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction
from sqlalchemy.orm import Session, SessionTransaction

from fastapi_asyncdb.engine import seam
from fastapi_asyncdb.errors import CommitOutcomeUnknown, SessionError
from fastapi_asyncdb.finishing import finish
from fastapi_asyncdb.tracebacks import causes

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

ENDINGS = ("close", "commit", "invalidate", "reset", "rollback", "run_sync")
"""The coroutines of ``AsyncSession`` that may end the outermost transaction."""


def on_commit(
    session: AsyncSession | Session,
    fn: Callable[P, object],
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> None:
    """Call ``fn(*args, **kwargs)`` once the session's work is committed, and only then.

    Mail, messages and cache updates belong here: sent earlier, they tell of work that may yet be
    rolled back. Hooks run in the order of registration, after the outermost commit, when the
    connection is back in the pool; in a request, before the response starts. A savepoint that is
    rolled back takes its hooks with it.

    In a session without a transaction the hook runs after the next commit, or when the request or
    the ``async with`` block ends well. That goes for reading sessions, which never commit, as well.

    A hook that fails is logged; the committed work stays, and the other hooks run. A hook that needs
    the database opens ``database.session()``, since this session is between two transactions. When the
    connection is lost during COMMIT, nobody knows the outcome, and no hook runs.

    Args:
        session: A session of this library, or what ``run_sync`` makes of it.
        fn: A function or coroutine function. A plain function runs on the event loop.
        *args: Passed to ``fn``.
        **kwargs: Passed to ``fn``.

    Raises:
        TypeError: ``fn`` cannot be called, or the session is not from this library.
        SessionClosed: the session has ended.
    """
    _register(session, Hook(fn, args, kwargs, after_commit=True))


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
        session: A session of this library, or what ``run_sync`` makes of it.
        fn: A function or coroutine function. A plain function runs on the event loop.
        *args: Passed to ``fn``.
        **kwargs: Passed to ``fn``.

    Raises:
        TypeError: ``fn`` cannot be called, or the session is not from this library.
        SessionClosed: the session has ended.
    """
    _register(session, Hook(fn, args, kwargs, after_commit=False))


@dataclass(slots=True, eq=False)
class Hook:
    """A function, its arguments, and what it waits for."""

    fn: Callable[..., object]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    after_commit: bool
    savepoint: SessionTransaction | None = None
    """The innermost savepoint that decides about it; without one the outermost transaction does."""
    undone: bool = False
    """Whether a savepoint has decided, and was rolled back."""

    def __str__(self) -> str:
        kind = "on_commit" if self.after_commit else "on_rollback"
        return f"{kind} hook {getattr(self.fn, '__qualname__', None) or repr(self.fn)}"

    def is_due(self, *, committed: bool) -> bool:
        """Tell whether the end of the outermost transaction is what it waits for."""
        return self.after_commit == (committed and not self.undone)

    async def call(self) -> None:
        """Run it; what it raises is logged and goes no further."""
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


@dataclass(slots=True)
class Hooks:
    """The hooks of one session: those that wait for a transaction to end, and those due now."""

    waiting: list[Hook] = field(default_factory=list)
    due: list[Hook] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.waiting or self.due)

    def end(self, *, committed: bool) -> None:
        """Make due what waits for this end of the outermost transaction, and drop the rest."""
        if not self.waiting:
            return
        self.due += [hook for hook in self.waiting if hook.is_due(committed=committed)]
        self.waiting.clear()

    def take(self) -> list[Hook]:
        """Return the hooks that are due, once, without those that a filter of the testing kit stops."""
        due, self.due = self.due, []
        return [hook for hook in due if _may_run(hook)] if seam.commit_hook_filters else due

    def release(self, savepoint: SessionTransaction) -> None:
        """Hand the hooks of a savepoint to what encloses it."""
        for hook in self.waiting:
            if hook.savepoint is savepoint:
                hook.savepoint = _enclosing(savepoint)

    def undo(self, savepoint: SessionTransaction) -> None:
        """Settle that the hooks of a savepoint end as if the whole were rolled back."""
        for hook in self.waiting:
            if hook.savepoint is savepoint:
                hook.savepoint, hook.undone = None, True

    def forget(self) -> None:
        """Run neither kind: nobody knows whether the transaction was committed."""
        if self:
            names = ", ".join(str(hook) for hook in self.due + self.waiting)
            logger.error("The outcome of a COMMIT is unknown, so these were not run: %s", names)
        self.waiting.clear()
        self.due.clear()


def _may_run(hook: Hook) -> bool:
    if not hook.after_commit:
        return True
    # All of them first: each filter sees each hook, also one that another filter stops.
    verdicts = [wanted(hook) for wanted in seam.commit_hook_filters]
    return all(verdicts)


# Tasks that a hook starts inherit it.
_hooks_of: ContextVar[Session | None] = ContextVar("fastapi_asyncdb.hooks_of", default=None)


class HookedSession(Session):
    """A ``Session`` that remembers hooks. Who ends its transaction runs those that are due."""

    patience = 10.0
    """Seconds left for a commit or hooks whose caller is cancelled, and for a rollback in any case."""

    hooks = Hooks()
    """Shared by all sessions that have none: whoever registers the first makes its own."""

    def check_usable(self) -> None:
        """Refuse a session that has ended; for subclasses."""

    def refuse_hooks(self) -> None:
        """Refuse a hook that uses the session, which is between two transactions."""
        if _hooks_of.get() is self:
            raise SessionError(
                "A hook used the session that it was registered on, whose transaction is over: what "
                "it writes now would be acknowledged before it is committed. Open a session in the "
                "hook: 'async with database.session() as session:'."
            )

    def may_run_hooks(self) -> bool:
        """Tell whether hooks may run now, or whoever ends the transaction will do it."""
        return True

    def rollback(self) -> None:
        """Roll back; hooks that were registered without a transaction go with it."""
        super().rollback()
        self.hooks.end(committed=False)


@event.listens_for(HookedSession, "after_commit", propagate=True)
def _after_commit(session: HookedSession) -> None:
    # Fires for savepoints too, and for a commit of the whole with savepoints open once for each.
    savepoint = session.get_nested_transaction()
    if savepoint is None:
        session.hooks.end(committed=True)
    else:
        session.hooks.release(savepoint)


@event.listens_for(HookedSession, "after_transaction_end", propagate=True)
def _after_transaction_end(session: HookedSession, transaction: SessionTransaction) -> None:
    # After a commit there is nothing left to do: it has taken or handed on its hooks.
    if transaction.nested:
        session.hooks.undo(transaction)
    elif transaction.parent is None:
        session.hooks.end(committed=False)


@event.listens_for(HookedSession, "before_attach", propagate=True)
def _before_attach(session: HookedSession, instance: object) -> None:
    session.refuse_hooks()


class HookedTransaction(AsyncSessionTransaction):
    """What ``session.begin()`` returns; its end runs the hooks."""

    __slots__ = ()

    async def commit(self) -> None:
        """Commit."""
        await _run_after(self.session, super().commit(), may_commit=True)

    async def rollback(self) -> None:
        """Roll back."""
        await _run_after(self.session, super().rollback(), may_commit=False)

    async def __aexit__(self, type_: Any, value: Any, traceback: Any) -> None:
        work = super().__aexit__(type_, value, traceback)
        await _run_after(self.session, work, may_commit=type_ is None)


def hooked(method: Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[T]]:
    """Let a coroutine of ``AsyncSession`` that may end the transaction run the hooks afterwards."""
    may_commit = method.__name__ in ("commit", "run_sync")

    @wraps(method)
    async def with_hooks(self: AsyncSession, *args: Any, **kwargs: Any) -> T:
        return await _run_after(self, method(self, *args, **kwargs), may_commit=may_commit)

    return with_hooks


async def _run_after(session: AsyncSession, work: Awaitable[T], *, may_commit: bool) -> T:
    hooked_session = _hooked(session)
    try:
        return await work
    except Exception as error:
        if may_commit and any(_lost_at_commit(cause) for cause in causes(error)):
            hooked_session.hooks.forget()
        raise
    finally:
        if hooked_session.hooks and hooked_session.may_run_hooks():
            await _run_due(hooked_session)


def _lost_at_commit(error: BaseException) -> bool:
    if isinstance(error, CommitOutcomeUnknown):
        return True
    # COMMIT is what SQLAlchemy runs without a statement.
    return isinstance(error, DBAPIError) and error.connection_invalidated and not error.statement


async def run_hooks(session: AsyncSession, *, committed: bool) -> None:
    """Run the hooks of a block that has committed or rolled back.

    Without a transaction there was nothing to commit, and a block that ends well counts as
    committed: a request that did no more than register a hook is a success.
    """
    hooked_session = _hooked(session)
    hooks = hooked_session.hooks
    while hooks:
        if not session.in_transaction():
            hooks.end(committed=committed)
        if not hooks.due:
            return
        await _run_due(hooked_session)


async def _run_due(session: HookedSession) -> None:
    """Run what is due: a client that leaves does not undo the commit either.

    Hooks may take as long as somebody waits for them, and a little longer.
    """
    if session.hooks.due:
        await finish(_run(session, session.hooks.take()), patience=lambda: session.patience)


async def _run(session: HookedSession, due: list[Hook]) -> None:
    _hooks_of.set(session)
    for position, hook in enumerate(due):
        try:
            await hook.call()
        except asyncio.CancelledError:
            logger.error(  # noqa: TRY400 - where it was waiting is no news
                "The %s was cut off: its caller was cancelled, and it did not end within %g s. These "
                "were not run: %s",
                hook,
                session.patience,
                ", ".join(map(str, due[position + 1 :])) or "none",
            )
            raise


def _register(session: AsyncSession | Session, hook: Hook) -> None:
    if not callable(hook.fn):
        raise TypeError(
            f"A hook is a function and its arguments, not {hook.fn!r}: write on_commit(session, "
            "send, mail), not on_commit(session, send(mail))."
        )
    hooked_session = _hooked(session)
    hooked_session.check_usable()
    hook.savepoint = hooked_session.get_nested_transaction()
    if hooked_session.hooks is HookedSession.hooks:
        hooked_session.hooks = Hooks()
    hooked_session.hooks.waiting.append(hook)


def _hooked(session: AsyncSession | Session) -> HookedSession:
    sync_session = session.sync_session if isinstance(session, AsyncSession) else session
    if not isinstance(sync_session, HookedSession):
        raise TypeError(
            f"{session!r} runs no hooks. Use a session that this library opened: DB in a request, "
            "'async with database.session() as session:' elsewhere."
        )
    return sync_session


def _enclosing(savepoint: SessionTransaction) -> SessionTransaction | None:
    parent = savepoint.parent
    while parent is not None and not parent.nested:
        parent = parent.parent
    return parent
