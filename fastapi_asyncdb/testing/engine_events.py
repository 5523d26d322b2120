"""Listeners on every engine of the process, which leave no trace after their block.

A listener on SQLAlchemy's classes sets a flag there that stays when the listener is removed, and by
which every later statement looks for listeners. Here the flag goes with the last listener.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any

from sqlalchemy import Engine, event, make_url
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.engine.events import ConnectionEvents, DialectEvents
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.pool import NullPool


@contextmanager
def listening_on_engines(listeners: dict[str, Callable[..., Any]]) -> Iterator[None]:
    """Call listeners for the events of all engines while the block runs.

    Args:
        listeners: By the name of the event; of ``ConnectionEvents`` or ``DialectEvents``.
    """
    with ExitStack() as stack:
        stack.callback(_clear_flags)
        for name, listener in listeners.items():
            event.listen(Engine, name, listener)
            stack.callback(event.remove, Engine, name, listener)
        yield


def _clear_flags() -> None:
    engine = _unlistened()
    if not _listened(engine, ConnectionEvents):
        Engine._has_events = False
    if not _listened(engine.dialect, DialectEvents):
        Dialect._has_events = False


def _listened(target: Engine | Dialect, events: type) -> bool:
    names = (name for name in vars(events) if not name.startswith("_") and name != "dispatch")
    return any(getattr(target.dispatch, name) for name in names)


@cache
def _unlistened() -> Engine:
    """Return an engine without listeners of its own: those that it has are those of the classes."""
    dialect = DefaultDialect()
    return Engine(NullPool(_never, dialect=dialect), dialect, make_url("sqlite://"))


def _never() -> Any:
    raise AssertionError("This engine is never used to connect.")
