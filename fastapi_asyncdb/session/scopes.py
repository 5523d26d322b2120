"""The blocks around a session: how it is opened, and the one decision between commit and rollback."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from sqlalchemy.exc import IllegalStateChangeError
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb.errors import RollbackTimeout
from fastapi_asyncdb.session.ending import run_remaining_hooks
from fastapi_asyncdb.session.managed import ManagedSession
from fastapi_asyncdb.session.misuse import Misused
from fastapi_asyncdb.session.retry import is_retryable
from fastapi_asyncdb.session.state import LetsGo, SessionState

logger = logging.getLogger(__name__)


class SessionScope(Misused, AbstractAsyncContextManager[AsyncSession]):
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

    def __init__(
        self, open_session: Callable[[], ManagedSession], *, repeated: bool = False
    ) -> None:
        self._open = open_session
        self._repeated = repeated

    async def __aenter__(self) -> ManagedSession:
        self._session = self._open()
        return self._session

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        session = self._session
        expires = self._repeated and (error is None or is_retryable(error))
        lets_go: LetsGo = "expired" if expires else "kept"
        try:
            await end_transaction(session, error, lets_go)
        except RollbackTimeout as given_up:
            error = given_up
            raise
        finally:
            if session.in_transaction():
                await _close(session, error, lets_go)
            session._asyncdb.close()


async def end_transaction(
    session: ManagedSession,
    error: BaseException | None,
    lets_go: LetsGo = "kept",
    *,
    streams_on: bool = False,
) -> None:
    """Commit, or roll back after any exception, cancellation included; then run the hooks.

    This is the only place in the library that decides between the two. A session that ran no
    statement has nothing to end and checks out no connection. Nor has a reading session in the middle
    of a stream, which may be read on: it commits nothing. After a rollback its objects are detached.

    Args:
        session: The session, which may be used further.
        error: What left the block around it.
        lets_go: Which values the objects have after a rollback.
        streams_on: Whether an open stream may be read on.
    """
    state = session._asyncdb
    committed = False
    try:
        if error is not None or (state.watched and _is_cut_off(state)):
            # A rollback that has timed out was tried already, and is given up.
            if not isinstance(error, RollbackTimeout):
                await _roll_back(session, lets_go)
            if state.hooks is not None:
                state.hooks.end(committed=False)
        elif streams_on and state.streams:
            await session.flush()  # refused, if there is anything to write
            committed = True
        else:
            if session.in_transaction():
                await _commit(session, lets_go)
            committed = True
    finally:
        if state.hooks is not None:
            await run_remaining_hooks(state, committed=committed)


async def _commit(session: ManagedSession, lets_go: LetsGo) -> None:
    state = session._asyncdb
    # A flush that fails rolls back by itself. The expired are expunged by the close that follows.
    state.lets_go = "kept" if lets_go == "kept" else None
    try:
        await session.commit()
    except BaseException:
        state.let_go()
        raise
    finally:
        state.lets_go = None


async def _roll_back(session: ManagedSession, lets_go: LetsGo) -> None:
    if session.in_transaction():
        session._asyncdb.lets_go = lets_go
        try:
            await session.rollback()
        finally:
            session._asyncdb.lets_go = None


def _is_cut_off(state: SessionState) -> bool:
    if state.cut_off:
        logger.info("A response was cut off before it ended; what it wrote is rolled back.")
    return state.cut_off


async def _close(session: ManagedSession, error: BaseException | None, lets_go: LetsGo) -> None:
    try:
        # Without an error it is the commit that has failed.
        await (_roll_back(session, lets_go) if lets_go == "expired" else session.close())
    except IllegalStateChangeError:
        # A driver that ignores its cancellation may still be in the rollback that was given up.
        if not isinstance(error, RollbackTimeout):
            raise
