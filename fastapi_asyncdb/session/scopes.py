"""The block around a session: it opens the session, and ends its transaction and the session."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

from sqlalchemy.exc import IllegalStateChangeError
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb.session.ending import end_transaction
from fastapi_asyncdb.session.managed import state_of
from fastapi_asyncdb.session.misuse import Misused
from fastapi_asyncdb.session.retry import is_retryable
from fastapi_asyncdb.session.state import LetsGo, SessionState

logger = logging.getLogger(__name__)

S = TypeVar("S", bound=AsyncSession)


class SessionScope(Misused, AbstractAsyncContextManager[S]):
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

    def __init__(self, open_session: Callable[[], S], *, repeated: bool = False) -> None:
        self._open = open_session
        self._repeated = repeated
        self._entered = False

    async def __aenter__(self) -> S:
        if self._entered:
            self._refuse("was entered again")
        self._entered = True
        self._session = self._open()
        return self._session

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        expires = self._repeated and (error is None or is_retryable(error))
        state = state_of(self._session)
        await end_session(state, self._session, error, "expired" if expires else "kept")


async def end_session(
    state: SessionState,
    session: AsyncSession,
    error: BaseException | None,
    lets_go: LetsGo = "kept",
) -> None:
    """Commit or roll back what a session has open, and refuse its use from then on.

    Args:
        state: Of the session.
        session: The user's.
        error: What left the block around it.
        lets_go: Which values its objects have after a rollback.
    """
    try:
        if error is not None or not state.is_at_rest():
            await end_transaction(state, session, error, lets_go)
    finally:
        try:
            if session.in_transaction():
                await _close(state, session, lets_go)
        finally:
            state.closed = state.watched = True
            state.owner = None


async def _close(state: SessionState, session: AsyncSession, lets_go: LetsGo) -> None:
    state.lets_go = lets_go if lets_go == "expired" else None
    try:
        await (session.rollback() if lets_go == "expired" else session.close())
    except IllegalStateChangeError:
        # A driver that ignores its cancellation may still be in the commit or rollback that was given
        # up, which says more: its error is on its way.
        logger.debug("A session is still in the end of its transaction, and is left to it.")
    finally:
        state.lets_go = None
