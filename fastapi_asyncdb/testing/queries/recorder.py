"""Listens to SQLAlchemy's engines, and records the statements of one ``Database``."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from inspect import currentframe
from itertools import count
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.orm import ORMExecuteState, Session

from fastapi_asyncdb.database import Database
from fastapi_asyncdb.engine.seam import has_pool
from fastapi_asyncdb.testing.engine_events import listening_on_engines
from fastapi_asyncdb.testing.queries.call_site import (
    call_site,
    is_from_flush,
    is_from_preset,
    stack,
)
from fastapi_asyncdb.testing.queries.statements import QueryCount, Statement

_CONTROL = re.compile(r"\s*(?:begin|commit|end|release|rollback|savepoint|start)\b", re.IGNORECASE)
# The execution option that names the relationship of a lazy load; "" for an eager load, for which
# SQLAlchemy sends as few statements as it can.
_RELATION = "fastapi_asyncdb_relation"
_EAGER = ""


class Recorder:
    """Record the statements of a ``Database`` while a block runs.

    Args:
        database: The ``Database``.
    """

    def __init__(self, database: Database[Any]) -> None:
        self.seen: QueryCount = QueryCount()
        self._database = database
        self._running: dict[object, tuple[Statement, float]] = {}
        self._numbers = count()
        # A number for each connection, which has about one transaction. An id() may be used again.
        self._connections: WeakKeyDictionary[Connection, int] = WeakKeyDictionary()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Record statements while the block runs, also of engines that are made in it."""
        listeners = {
            "before_cursor_execute": self._before,
            "after_cursor_execute": self._after,
            "handle_error": self._failed,
        }
        note_relation = self._note_relation
        event.listen(Session, "do_orm_execute", note_relation)
        try:
            with listening_on_engines(listeners):
                yield
        finally:
            event.remove(Session, "do_orm_execute", note_relation)

    def _before(
        self,
        connection: Connection,
        cursor: object,
        sql: str,
        parameters: Any,
        context: Any,
        executemany: bool,  # noqa: FBT001 - SQLAlchemy's
    ) -> None:
        if _CONTROL.match(sql) or not has_pool(self._database, connection.engine.pool):
            return
        frames = list(stack(currentframe()))
        if is_from_preset(frames):
            return
        relation = context.execution_options.get(_RELATION)
        site = call_site(frames)
        statement = Statement(sql, _sets(parameters, context, executemany), site)
        statement.relation = relation or None
        if not (executemany or relation == _EAGER or is_from_flush(frames)):
            statement.shape = (self._number(connection), _shape(sql, context), relation)
            statement.parameters_hash = hash(repr(parameters))
        self.seen.statements.append(statement)
        self._running[context] = statement, time.perf_counter()

    def _after(self, *arguments: Any) -> None:
        *_, context, _executemany = arguments
        self._stop(context)

    def _failed(self, failure: ExceptionContext) -> None:
        self._stop(failure.execution_context)

    def _stop(self, context: object) -> None:
        if context in self._running:
            statement, since = self._running.pop(context)
            statement.seconds = time.perf_counter() - since

    def _note_relation(self, state: ORMExecuteState) -> None:
        path = state.loader_strategy_path if state.is_relationship_load else None
        if path is not None:
            relation = str(path[-1]) if state.lazy_loaded_from is not None else _EAGER
            state.update_execution_options(**{_RELATION: relation})

    def _number(self, connection: Connection) -> int:
        if connection not in self._connections:
            self._connections[connection] = next(self._numbers)
        return self._connections[connection]


def _sets(parameters: Any, context: Any, executemany: bool) -> int:  # noqa: FBT001
    """Count the rows of parameters that are sent at once."""
    if not executemany:
        return 1
    if isinstance(parameters, list):
        return len(parameters)
    # INSERT ... VALUES (...), (...): the values of all rows, one after the other.
    row = len(context.parameters[0])
    return len(parameters) // row if row else 1


def _shape(sql: str, context: Any) -> str:
    """Return the SQL as it is before IN gets one placeholder for each value."""
    return getattr(context.compiled, "string", sql)
