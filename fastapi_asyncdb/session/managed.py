"""``ManagedSession``: the session that users get, for one task at a time, below their own class."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable
from functools import partial, wraps
from typing import Any, cast

from sqlalchemy import Result, ScalarResult
from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction
from sqlalchemy.orm import Session

from fastapi_asyncdb.concurrency import greenlet_spawn
from fastapi_asyncdb.session.ending import end, run_hooks
from fastapi_asyncdb.session.state import SessionState
from fastapi_asyncdb.session.sync_session import ManagedSyncSession, OwnSyncSession, resolving


def _by_one_task(method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Let one task at a time await the method."""

    @wraps(method)
    async def by_one_task(self: ManagedSession, *args: Any, **kwargs: Any) -> Any:
        state = self._asyncdb
        tasks, connections = state.tasks, state.connections
        if tasks.ending is not None:
            await tasks.until_ended()
        task = asyncio.current_task()
        if tasks.user is not None:
            tasks.refuse_other(task)
            return await method(self, *args, **kwargs)  # one of its methods calls another
        tasks.user = task
        try:
            try:
                if connections.streams is not None:
                    await connections.end_left_streams()
                return await method(self, *args, **kwargs)
            finally:
                if connections.releases:
                    await greenlet_spawn(connections.release)
        finally:
            tasks.user = None
            if tasks.free is not None:
                tasks.wake()
            if (state.hooks is not None or state.closed) and tasks.ending is None:
                await _end_late(self, state)

    return by_one_task


async def _end_late(session: ManagedSession, state: SessionState) -> None:
    """Run the hooks of a transaction that ``run_sync`` has ended; end a session that is closed."""
    await run_hooks(state)
    if state.closed and session.in_transaction():
        await session.close()  # its rollback could not wait for this call


class ManagedSession(AsyncSession):
    """An ``AsyncSession`` for one task at a time.

    A cancellation does not interrupt its commit or rollback.
    It is a base class of the user's own class, whose overriding methods are called first.
    """

    sync_session_class = ManagedSyncSession
    _asyncdb: SessionState

    # Here and not in ManagedSyncSession: SQLAlchemy's warnings name the first caller outside of
    # SQLAlchemy, and in a listener that must be the user's line.
    def add(self, instance: object, *args: Any, **kwargs: Any) -> None:
        """Add an object; one that comes while a commit is under way belongs to the next."""
        if self._asyncdb.tasks.ending is None or not self._asyncdb.postpones(instance):
            self.sync_session.add(instance, *args, **kwargs)

    def add_all(self, instances: Iterable[object]) -> None:
        """Add objects; those that come while a commit is under way belong to the next."""
        if self._asyncdb.tasks.ending is None:
            self.sync_session.add_all(instances)
        else:
            for instance in instances:
                self.add(instance)

    async def commit(self) -> None:
        """Commit."""
        await end(self._asyncdb, super().commit, commits=True)

    async def rollback(self) -> None:
        """Roll back."""
        await end(self._asyncdb, super().rollback, commits=False)

    async def close(self) -> None:
        """Roll back, and forget all objects."""
        await end(self._asyncdb, super().close, commits=False)

    async def reset(self) -> None:
        """Roll back, and forget all objects."""
        await end(self._asyncdb, super().reset, commits=False)

    async def invalidate(self) -> None:
        """Close, and give up the connections."""
        await end(self._asyncdb, super().invalidate, commits=False)

    def begin(self) -> AsyncSessionTransaction:
        """Return a block that begins a transaction and ends it."""
        return ManagedBlock(self)

    def begin_nested(self) -> AsyncSessionTransaction:
        """Return a block that sets a savepoint, and releases it or rolls back to it."""
        return ManagedBlock(self, nested=True)

    @_by_one_task
    async def stream(self, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        """Execute a statement and stream its rows, which one task at a time may fetch."""
        result = await super().stream(*args, **kwargs)
        self._asyncdb.connections.note_streams()
        return result


DELEGATING = frozenset({"aclose", "scalars", "stream_scalars"})
"""The coroutines of ``AsyncSession`` that only call another one."""


def _guard_coroutines(session_class: type[AsyncSession]) -> None:
    for name, method in vars(AsyncSession).items():
        own = name.startswith("_") or name in DELEGATING or name in vars(session_class)
        if inspect.iscoroutinefunction(method) and not own:
            setattr(session_class, name, _by_one_task(method))


_guard_coroutines(ManagedSession)


@_by_one_task
async def _begin(session: ManagedSession, start: Callable[..., Awaitable[Any]], *args: Any) -> None:
    await start(*args)


class ManagedBlock(AsyncSessionTransaction):
    """The block of ``begin()`` and ``begin_nested()``, which ends like any other transaction."""

    __slots__ = ()

    async def start(self, is_ctxmanager: bool = False) -> AsyncSessionTransaction:  # noqa: FBT001, FBT002
        """Begin."""
        await _begin(cast(ManagedSession, self.session), super().start, is_ctxmanager)
        if self.nested and self.sync_transaction is not None:
            state_of(self.session).tasks.add_savepoint(self.sync_transaction)
        return self

    async def commit(self) -> None:
        """Commit, or release the savepoint."""
        self._refuse_overlap()
        await end(state_of(self.session), super().commit, commits=True)

    async def rollback(self) -> None:
        """Roll back, to the savepoint if it is one."""
        await end(state_of(self.session), super().rollback, commits=False)

    async def __aexit__(self, type_: Any, value: Any, traceback: Any) -> None:
        if type_ is None:
            self._refuse_overlap()
        leave = partial(super().__aexit__, type_, value, traceback)
        await end(state_of(self.session), leave, commits=type_ is None)

    def _refuse_overlap(self) -> None:
        tasks = state_of(self.session).tasks
        tasks.refuse_overlap(self.session.sync_session, self.sync_transaction)


def managed(session_class: type[AsyncSession]) -> type[ManagedSession]:
    """Return the session class with the managed one below it."""
    sync_class = session_class.sync_session_class
    if session_class is AsyncSession and sync_class is Session:
        return ManagedSession
    bases = (OwnSyncSession,) if sync_class is Session else (sync_class, OwnSyncSession)
    own_sync_class = type(sync_class.__name__, bases, resolving(sync_class))
    members: dict[str, Any] = {"sync_session_class": own_sync_class}
    if session_class.scalars is AsyncSession.scalars and _is_deprecated(session_class.execute):
        members["scalars"] = _scalars
    return type(session_class.__name__, (session_class, ManagedSession), members)


def execute(session: AsyncSession, *args: Any, **kwargs: Any) -> Awaitable[Result[Any]]:
    """Call ``session.execute()`` for the user, without the warning of a class that deprecates it.

    SQLModel's class asks for ``exec()`` instead. The warning would name a line of the library, or of
    SQLAlchemy, which the user cannot change. https://peps.python.org/pep-0702/
    """
    method: Any = type(session).execute
    if _is_deprecated(method):
        method = method.__wrapped__
    result: Awaitable[Result[Any]] = method(session, *args, **kwargs)
    return result


def has_own_class(session: AsyncSession) -> bool:
    """Return whether a class of the user's own, or of another package, may change what is sent."""
    if type(session) not in (ManagedSession, AsyncSession):
        return True
    return type(session.sync_session) not in (ManagedSyncSession, Session)


def _is_deprecated(method: object) -> bool:
    return hasattr(method, "__deprecated__")


async def _scalars(self: AsyncSession, *args: Any, **kwargs: Any) -> ScalarResult[Any]:
    # SQLAlchemy's own calls execute().
    return (await execute(self, *args, **kwargs)).scalars()


def state_of(session: AsyncSession) -> SessionState:
    """Return what the library knows of a session that it opened."""
    return cast(ManagedSession, session)._asyncdb


def ends_with_handler(session: AsyncSession) -> bool:
    """Return whether the session's transaction is committed between its handler and the response."""
    if not isinstance(session, ManagedSession):
        return False
    state = state_of(session)
    return state.request is not None and not state.connections.reads
