"""How a transaction ends: commit or rollback, finished although the caller is cancelled; then hooks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import finishing
from fastapi_asyncdb.concurrency import greenlet_spawn, task_name
from fastapi_asyncdb.engine.in_doubt import CommitInterrupted
from fastapi_asyncdb.errors import CommitOutcomeUnknown, RollbackTimeout
from fastapi_asyncdb.session.state import LetsGo, SessionState
from fastapi_asyncdb.tracebacks import causes

logger = logging.getLogger(__name__)

Work = Callable[[], Coroutine[Any, Any, None]]

# How the time of a rollback is divided: for itself, for closing its connection once it is cancelled,
# and for what that leaves once it is cancelled again.
_ROLLBACK = (0.6, 0.25, 0.15)


async def end_transaction(
    state: SessionState,
    session: AsyncSession,
    error: BaseException | None,
    lets_go: LetsGo = "kept",
    *,
    streams_on: bool = False,
) -> None:
    """Commit, or roll back after any exception, cancellation included; then run the hooks.

    No other place decides between the two. It does nothing if no statement ran, or while a reading
    session's stream is open, which may be read on. After a rollback the objects are detached.

    Args:
        state: Of the session.
        session: The user's, which may be used further.
        error: What left the block around it.
        lets_go: Which values the objects have after a rollback.
        streams_on: Whether an open stream may be read on.
    """
    connections, committed = state.connections, False
    try:
        state.is_answering = streams_on
        connections.releases = connections.reads
        if error is not None or (state.watched and state.tasks.cut_off):
            await _undo(state, session, error, lets_go)
        elif streams_on and connections.streams:
            await session.flush()  # refused, if there is anything to write
            committed = True
        else:
            reads = connections.reads
            commits = not await _release(state, session) if reads else session.in_transaction()
            if commits:
                # A flush that fails rolls back by itself.
                state.lets_go = "kept" if lets_go == "kept" else None
                await session.commit()
            committed = True
    except BaseException:
        state.let_go()
        raise
    finally:
        state.lets_go = None
        if state.hooks is not None:
            await _run_remaining_hooks(state, committed=committed)


async def _release(state: SessionState, session: AsyncSession) -> bool:
    """Return a reading session's connection instead of a commit, and whether that was possible."""
    if state.has_changes():
        return False  # to be flushed, and so refused
    if state.tasks.user is not None:
        return True  # a stream is in the middle of a statement, and returns the connection after it
    if session.in_transaction():
        await greenlet_spawn(state.connections.release)
    return not session.in_transaction()


async def _undo(
    state: SessionState, session: AsyncSession, error: BaseException | None, lets_go: LetsGo
) -> None:
    if error is None:
        logger.info("A response was cut off before it ended; what it wrote is rolled back.")
    # One that has timed out was tried already, and is given up.
    if session.in_transaction() and not isinstance(error, RollbackTimeout):
        state.lets_go = lets_go
        await session.rollback()
    if state.hooks is not None:
        state.hooks.end(committed=False)


async def end(state: SessionState, work: Work, *, commits: bool) -> None:
    """Run what ends a transaction or savepoint, to its end; then the hooks that are due.

    Args:
        state: Of the session.
        work: Commits, rolls back or closes.
        commits: Whether it commits. A commit may take as long as the database lets it: its flush, or
            a deferred constraint, may be much work. A rollback may not.

    Raises:
        ConcurrentSessionUse: a commit while another task is in the middle of a call.
        TransactionAborted: a commit of what the database has ended already.
        CommitOutcomeUnknown: the connection was lost during COMMIT.
        RollbackTimeout: a rollback was given up.
    """
    task, tasks = asyncio.current_task(), state.tasks
    if tasks.ending is not None:
        if tasks.ending is task:
            return await work()  # within another end
        await tasks.until_ended()
    if tasks.user is not None:
        if commits:
            tasks.refuse_other(task)
        work = partial(tasks.after_call, work)
    tasks.ending = task
    try:
        if not state.session().in_transaction():
            await work()
        else:
            await (_commit if commits else _roll_back)(state, work)
    finally:
        state.end_is_over()
        if state.hooks is not None:
            state.hooks.next_transaction()
            await run_hooks(state)


async def _commit(state: SessionState, work: Work) -> None:
    # Without a connection the commit will connect, which sets a timeout and so needs a task of its own,
    # and which is given up at once when the caller is cancelled.
    connections = state.connections
    here = state.in_place and connections.in_use and not connections.streams
    finish = finishing.finish_here if here else finishing.finish
    grace = finishing.GRACE.ending
    if state.closed or state.failed_begin is not None:
        state.check_open()
    try:
        await finish(work(), grace=lambda: grace if connections.in_use else 0.0)
    except CommitInterrupted as interrupted:
        _forget_hooks(state)
        raise interrupted.outcome from interrupted
    except Exception as error:
        if any(map(_is_lost_commit, causes(error))):
            _forget_hooks(state)
        raise


async def _roll_back(state: SessionState, work: Work) -> None:
    if not state.connections.in_use and state.tasks.user is None:
        return await work()  # waits for nothing: under overload each refused request comes here
    seconds = finishing.GRACE.ending
    own, first, second = (seconds * share for share in _ROLLBACK)
    here = state.in_place and not state.connections.streams
    finish = finishing.finish_here if here else finishing.finish
    try:
        await finish(work(), grace=lambda: own, limit=own, after_cancellation=(first, second))
    except TimeoutError as error:
        user = state.tasks.user
        if user not in (None, asyncio.current_task()):
            raise RollbackTimeout(
                f"A transaction could not be rolled back within {seconds:g} s, since {task_name(user)} "
                "is in the middle of a call that uses its session. The connection is returned when that "
                "call ends, and nothing was stored. Await the tasks that use a session before it ends.",
                error,
            ) from error
        raise RollbackTimeout(
            f"A transaction could not be rolled back within {seconds:g} s, most likely because the "
            "network is cut. Its connection was discarded, and the server rolls back by itself when it "
            "notices: nothing was stored, and the work may be repeated.",
            error,
        ) from error


def _is_lost_commit(error: BaseException) -> bool:
    if isinstance(error, CommitOutcomeUnknown):
        return True
    # COMMIT is what SQLAlchemy runs without a statement.
    return isinstance(error, DBAPIError) and error.connection_invalidated and not error.statement


def _forget_hooks(state: SessionState) -> None:
    if state.hooks is not None:
        state.hooks.forget()


async def run_hooks(state: SessionState) -> None:
    """Run the hooks that are due; meanwhile each use of the session is checked."""
    if state.hooks is not None and state.hooks.due:
        state.watch_hooks(running=True)
        try:
            await state.hooks.run_due()
        finally:
            state.watch_hooks(running=False)


async def _run_remaining_hooks(state: SessionState, *, committed: bool) -> None:
    """Run the hooks of a block that has committed or rolled back.

    Without a transaction there was nothing to commit, and a block that ends well counts as committed:
    a request that did no more than register a hook is a success.
    """
    while state.hooks is not None and state.hooks:
        if not state.session().in_transaction():
            state.hooks.end(committed=committed)
        if not state.hooks.due:
            return
        await run_hooks(state)
