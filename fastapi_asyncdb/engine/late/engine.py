"""``LateEngine``: an engine that can be handed around before there is one.

SQLAlchemy's ``OptionEngine`` is the model: it has no pool, and joins its listeners with another's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakSet, WeakValueDictionary

from sqlalchemy import URL, Connection, Engine
from sqlalchemy.engine.base import OptionEngine
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.pool import Pool, PoolProxiedConnection

from fastapi_asyncdb.engine.late.targets import LateDialect, LatePool, Required, join, share

Find = Callable[[], Engine | None]
"""Returns the engine of the event loop; ``None`` if there is none."""


class _ConnectedEngine(OptionEngine):
    """The engine of a connection that a late one has made.

    A session looks its connection up by the engine that it was given, so this one is equal to that. It
    stays what it is after the stop, when a connection that is in use may still end its work.
    """

    def __init__(self, engine: Engine, late: LateEngine) -> None:
        super().__init__(engine, {})
        self._late = late

    def __eq__(self, other: object) -> bool:
        return other is self._late or other is self

    def __hash__(self) -> int:
        return hash(self._late)


class LateEngine(Engine):
    """An engine on the pool of the event loop's own, wherever it was made.

    Args:
        find: Returns the event loop's own engine, if there is one.
        required: Likewise, or raises.
        url: Returns where the database will be, while there is no engine.
        shared: The engine whose listeners for pools and dialects it has as well, if there is one.
    """

    _sa_propagate_class_events = False

    def __init__(
        self,
        find: Find,
        required: Required,
        url: Callable[[], URL],
        shared: LateEngine | None = None,
    ) -> None:
        # Not SQLAlchemy's: what that sets is an attribute of the other engine.
        self._find = find
        self.required = required
        self._later_url = url
        self._pool = LatePool(required)
        self._dialect = LateDialect(url)
        if shared is not None:
            share(shared._pool, self._pool)
            share(shared._dialect, self._dialect)
        self._is_heard = False
        self._joined: WeakSet[Engine] = WeakSet()
        self._connected: WeakValueDictionary[Engine, _ConnectedEngine] = WeakValueDictionary()

    def join(self, engine: Engine, *, pools: bool = True) -> None:
        """Let the listeners of this engine hear of what happens on another one, after its own.

        Args:
            engine: The other one, from which none was derived yet.
            pools: Whether those of its pool and its dialect are heard as well.
        """
        join(engine, self)
        self._note(engine)
        if pools:
            self._pool.join(engine.pool)
            self._dialect.join(engine.dialect)

    def join_derived(self, engine: Engine) -> None:
        """Let them hear of an engine that was derived from another one, after the listeners of that."""
        derived: Any = engine
        derived.dispatch = self.dispatch._join(derived.dispatch)
        self._note(engine)

    def _note(self, engine: Engine) -> None:
        self._joined.add(engine)
        if self._is_heard:
            engine._has_events = True

    def connect(self) -> Connection:
        """Connect through the engine of the event loop."""
        engine = self.required()
        connection = engine.connect()
        connected = self._connected.get(engine) or _ConnectedEngine(engine, self)
        connection.engine = self._connected[engine] = connected
        return connection

    def raw_connection(self) -> PoolProxiedConnection:
        """Check a connection out of its pool."""
        return self.required().raw_connection()

    def dispose(self, close: bool = True) -> None:  # noqa: FBT001, FBT002 - SQLAlchemy's signature
        """Replace its pool."""
        self.required().dispose(close)

    def execution_options(self, **options: Any) -> OptionEngine:
        """Return an engine like this one with these options, which may be made before the start too."""
        made: tuple[Engine, Engine] | None = None

        def with_options(engine: Engine) -> Engine:
            nonlocal made
            if made is None or made[0] is not engine:
                derived = engine.execution_options(**options)
                late.join_derived(derived)
                made = engine, derived
            return made[1]

        def find() -> Engine | None:
            engine = self._find()
            return engine and with_options(engine)

        late = LateEngine(find, lambda: with_options(self.required()), self._later_url, shared=self)
        return cast(OptionEngine, late)

    def update_execution_options(self, **options: Any) -> None:
        """Add options of the engine of the event loop."""
        self.required().update_execution_options(**options)

    def __repr__(self) -> str:
        engine = self._find()
        return "Engine(not started)" if engine is None else repr(engine)

    # As SQLAlchemy hides the properties of OptionEngine: https://github.com/python/typing/discussions/1095
    if not TYPE_CHECKING:

        @property
        def pool(self) -> Pool:
            """Passes calls on, and has the listeners for all event loops."""
            return self._pool

        @property
        def dialect(self) -> Dialect:
            """A copy with the listeners for all event loops; before the start, no more than the name."""
            engine = self._find()
            return self._dialect if engine is None else self._dialect.like(engine.dialect)

        @property
        def url(self) -> URL:
            """Where the database is; before the start, where a start would connect to now."""
            engine = self._find()
            return self._later_url() if engine is None else engine.url

        @property
        def echo(self) -> Any:
            """Whether statements are logged."""
            return self.required().echo

        @echo.setter
        def echo(self, value: Any) -> None:
            self.required().echo = value

        @property
        def _has_events(self) -> bool:
            return self._is_heard

        @_has_events.setter
        def _has_events(self, value: bool) -> None:
            self._is_heard = value
            for engine in self._joined:
                engine._has_events = value

        hide_parameters = property(lambda self: self.required().hide_parameters)
        _compiled_cache = property(lambda self: self.required()._compiled_cache)
        _execution_options = property(lambda self: self.required()._execution_options)
