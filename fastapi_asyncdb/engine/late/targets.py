"""The pool and the dialect of a late engine: what listeners for their events are registered on."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, Engine
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.pool import Pool, PoolProxiedConnection

Required = Callable[[], Engine]
"""Returns the engine of the event loop, or raises ``DatabaseNotStarted``."""


def join(target: Any, late: Any) -> None:
    """Let the listeners of a late object hear of what happens on another, after those of its own.

    As SQLAlchemy's ``OptionEngine`` joins those of the engine that it was made from.
    """
    target.dispatch = target.dispatch._join(late.dispatch)


def share(late: Any, other: Any) -> None:
    """Give the listeners of a late object to another one; from then on both have the same."""
    other.dispatch = late.dispatch


class LatePool(Pool):
    """The pool of the engine of the event loop; its listeners hear of the pools of all event loops."""

    _sa_propagate_class_events = False  # the pools hear of those themselves
    _is_asyncio: Any = True

    def __init__(self, required: Required) -> None:
        # Not SQLAlchemy's: what that sets is an attribute of the other pool.
        self._required = required

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._required().pool, name)

    def connect(self) -> PoolProxiedConnection:
        """Check a connection out."""
        return self._required().pool.connect()

    def dispose(self) -> None:
        """Close the idle connections."""
        self._required().pool.dispose()

    def recreate(self) -> Pool:
        """Return a new pool like the other one."""
        return self._required().pool.recreate()

    def status(self) -> str:
        """Describe the pool."""
        return self._required().pool.status()

    def _invalidate(self, *args: Any, **kwargs: Any) -> None:
        self._required().pool._invalidate(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def join(self, pool: Pool) -> None:
        """Let the listeners hear of another pool, after those that it has of its own."""
        join(pool, self)
        for name in ("first_connect", "connect"):
            # A task that waits for the first connection of all must not stop the thread.
            getattr(pool.dispatch, name)._set_asyncio()


class LateDialect(DefaultDialect):
    """Stands for the dialect until there is one; its listeners hear of those of all event loops."""

    _sa_propagate_class_events = False
    is_async = True

    def __init__(self, url: Callable[[], URL]) -> None:
        # Without arguments it knows no driver: it is never used to connect.
        super().__init__()
        self._url = url
        self._copy: tuple[Dialect, Dialect] | None = None

    if not TYPE_CHECKING:

        @property
        def name(self) -> str:
            """Of the database."""
            return self._url().get_backend_name()

        @property
        def driver(self) -> str:
            """Of the database."""
            return self._url().get_driver_name()

    def join(self, dialect: Dialect) -> None:
        """Let the listeners hear of another dialect, after those that it has of its own."""
        join(dialect, self)

    def like(self, dialect: Dialect) -> Dialect:
        """Return a dialect that is this one in all but its listeners, which are those of all."""
        if self._copy is None or self._copy[0] is not dialect:
            same = copy.copy(dialect)
            share(self, same)
            self._copy = dialect, same
        return self._copy[1]
