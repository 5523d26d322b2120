"""``ManagedSessionmaker``: SQLAlchemy's ``async_sessionmaker`` for the sessions of a ``Database``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.session.state import SessionState

S = TypeVar("S", bound=AsyncSession)


class ManagedSessionmaker(async_sessionmaker[S]):
    """Open sessions whose transactions the caller ends, as those of any ``async_sessionmaker``.

    Args:
        open_session: Called with a function that makes the session.
        class_: Of the sessions.
        **arguments: Of each session.
    """

    def __init__(
        self, open_session: Callable[[Callable[[], S]], S], class_: type[S], **arguments: Any
    ) -> None:
        super().__init__(class_=class_, **arguments)
        self._open = open_session

    def __call__(self, **local_kw: Any) -> S:
        """Open a session, whose first statement checks out a connection.

        Args:
            **local_kw: Of this session, as of SQLAlchemy's ``Session``.

        Raises:
            ConfigurationError: it is to be bound to something else than the ``Database``.
            DatabaseNotStarted: before the start, after the stop, and on another event loop.
            DatabaseStopping: the database stops.
        """
        arguments = self.kw | local_kw
        if arguments.get("bind") is not None or arguments.get("binds"):
            raise ConfigurationError(
                "A session of database.sessionmaker cannot be bound to another engine or connection: it "
                "uses the engine of its Database. Use SQLAlchemy's async_sessionmaker(bind), or "
                "fastapi_asyncdb.testing.sandbox for tests that roll back."
            )
        return self._open(lambda: super(ManagedSessionmaker, self).__call__(**local_kw))


class WhileInTransaction:
    """What a stop sees of a session that may stay open: it is waited for in a transaction only.

    Args:
        state: Of the session.
    """

    def __init__(self, state: SessionState) -> None:
        self._state = state

    @property
    def owner(self) -> asyncio.Task[Any] | None:
        """The task that has opened the session, while there is something to end."""
        return None if self._state.is_at_rest() else self._state.owner

    @property
    def request(self) -> object:
        """``None``: the session is of no request."""
        return self._state.request
