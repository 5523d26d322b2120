"""``LateEngines``: the two late engines of a ``Database``, and what their listeners hear of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import sqlalchemy.ext.asyncio
from sqlalchemy import URL, Engine, event
from sqlalchemy.ext.asyncio import AsyncEngine

from fastapi_asyncdb.engine.late.engine import LateEngine

_STATEMENTS = "before_execute", "after_execute", "before_cursor_execute", "after_cursor_execute"


class Pair(Protocol):
    """The engines of an event loop."""

    @property
    def write(self) -> AsyncEngine:
        """Writes."""
        ...

    @property
    def read(self) -> AsyncEngine:
        """Reads."""
        ...


class LateEngines:
    """The two late engines of one ``Database``.

    Args:
        find: Returns the engines of the event loop, if there are any.
        required: Likewise, or raises.
        url: Returns where the database will be, while there are none.
    """

    def __init__(
        self,
        find: Callable[[], Pair | None],
        required: Callable[[], Pair],
        url: Callable[[], URL],
    ) -> None:
        def find_write() -> Engine | None:
            pair = find()
            return None if pair is None else pair.write.sync_engine

        def find_read() -> Engine | None:
            pair = find()
            return None if pair is None else pair.read.sync_engine

        self._write = LateEngine(find_write, lambda: required().write.sync_engine, url)
        self._read = LateEngine(
            find_read, lambda: required().read.sync_engine, url, shared=self._write
        )
        self.write: AsyncEngine = AsyncEngine(self._write)
        self.read: AsyncEngine = AsyncEngine(self._read)
        self.create: object = sqlalchemy.ext.asyncio.create_async_engine
        """What has created the engines; a tracer may have replaced it since then."""

    def follow_tracer(self) -> None:
        """Let a tracer that has replaced ``create_async_engine`` listen, as if it had been there before.

        OpenTelemetry's wraps the function with wrapt, calls the original, and listens on the engine that
        it returns. Here it returns the writing one. So the tracer removes its listeners itself, too.
        """
        create: Any = sqlalchemy.ext.asyncio.create_async_engine
        self.create = create
        wrapper = getattr(create, "_self_wrapper", None)
        # instrument(engine=...) replaces it as well.
        if wrapper is not None and not self.is_traced_like(create("sqlite+aiosqlite://")):
            wrapper(lambda: self.write, None, (), {})

    def is_traced_like(self, engine: AsyncEngine) -> bool:
        """Return whether a listener for statements of a new engine is the writing one's as well."""
        own, new = (
            {getattr(each, "__func__", each) for each in one.dispatch.before_cursor_execute}
            for one in (self._write, engine.sync_engine)
        )
        return bool(own & new)

    def join(self, engine: AsyncEngine) -> None:
        """Let the listeners hear of a new engine of the database, from which none was derived yet."""
        self._write.join(engine.sync_engine)

    def join_reading(self, engine: AsyncEngine) -> None:
        """Let those of the reading one hear of an engine that has joined, or was derived from such."""
        self._read.join_derived(engine.sync_engine)

    def join_statements(self, engine: Engine, like: Engine) -> None:
        """Let the listeners for statements hear of an engine that takes the place of another one.

        Args:
            engine: The engine, which has a pool of another kind.
            like: The other one. A tracer may have listened on it, when it was created.
        """
        self._write.join(engine, pools=False)
        for name in _STATEMENTS:
            heard = list(getattr(engine.dispatch, name))
            for listener in getattr(like.dispatch, name):
                if listener not in heard:
                    event.listen(engine, name, listener, retval=name.startswith("before"))
