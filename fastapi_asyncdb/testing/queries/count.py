"""Which statements a test sends, how many, and from where. Sends none itself.

Values of parameters may be secrets: none is kept, and none is in a message. What is written into the
text of a statement is part of it, and shown.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.orm import ORMExecuteState, Session

from fastapi_asyncdb.database import BaseDatabase
from fastapi_asyncdb.engine.read_only import only_reads
from fastapi_asyncdb.testing.queries.call_site import (
    call_site,
    is_from_flush,
    is_from_preset,
    stack,
)

_CONTROL = re.compile(r"\s*(?:begin|commit|end|release|rollback|savepoint|start)\b", re.IGNORECASE)
# The execution option that tells what a lazy load is for; eager loads come in as few as they can.
_RELATION = "fastapi_asyncdb_relation"
_EAGER = ""


@dataclass(slots=True)
class Statement:
    """A statement that was sent to the database."""

    sql: str
    parameter_sets: int
    """How many rows of parameters it was sent with, in one go."""
    call_site: str | None
    """``file:line`` of the code that sent it; ``None`` for the flush of a commit that nobody called."""
    seconds: float = 0.0
    """How long the database took, as seen from here."""
    relation: str | None = None
    """``Author.books``, if it is a lazy load of it."""
    _shape: tuple[object, ...] | None = field(default=None, repr=False)
    """What the statements of a loop have in common; ``None`` if SQLAlchemy decides how many it sends."""
    _values: int = field(default=0, repr=False)
    """A hash of the parameters."""

    def __str__(self) -> str:
        sets = f", {self.parameter_sets} sets of parameters" if self.parameter_sets > 1 else ""
        place = self.call_site or "the end of the transaction"
        return f"{_one_line(self.sql)}\n     at {place} ({self.seconds * 1000:.1f} ms{sets})"


class QueryCount:
    """The statements of a block, in the order in which they were sent."""

    def __init__(self) -> None:
        self.statements: list[Statement] = []

    def __len__(self) -> int:
        return len(self.statements)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.count}>"

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.statements)


@contextmanager
def count_queries(database: BaseDatabase) -> Iterator[QueryCount]:
    """Note the statements that the handle's engines send inside the block.

    Every task's and thread's: a block around a request counts what the request does. ``BEGIN``,
    ``COMMIT``, savepoints, and what the library sends to begin a transaction or open a connection, do
    not count. The handle may be started inside the block.

    Args:
        database: Whose statements count; those of other handles do not.

    Returns:
        What fills while the block runs.
    """
    recorder = _Recorder(database)
    with ExitStack() as listening:
        # On the classes, because the handle may get its engines, or others, inside of the block.
        for target, name, listener in recorder.listeners():
            event.listen(target, name, listener)
            listening.callback(event.remove, target, name, listener)
        yield recorder.seen


@contextmanager
def assert_queries(
    database: BaseDatabase,
    *,
    max: int | None = None,  # noqa: A002 - what reads best
    exactly: int | None = None,
    n_plus_one: int = 5,
) -> Iterator[QueryCount]:
    """Fail the test if the block sends more statements than this, as ``count_queries`` counts.

    The message lists each with the place that sent it, never with its parameters, and tells what looks
    like a loop around a query (N+1), with its cure. A block that stays within its budget passes, loop
    or not. An exception in the block passes through.

    Args:
        database: Whose statements count.
        max: How many are allowed.
        exactly: How many there must be.
        n_plus_one: How often, in one transaction, a statement is sent again with other parameters
            before it is suspected.

    Returns:
        What fills while the block runs.

    Raises:
        AssertionError: there were more, or with ``exactly`` fewer.
        ValueError: neither ``max`` nor ``exactly`` is given, or both are.
    """
    __tracebackhide__ = True
    if (max is None) == (exactly is None):
        raise ValueError(
            "assert_queries needs to know what to expect, once: give it either max=... or exactly=..."
        )
    with count_queries(database) as seen:
        yield seen
    if exactly is not None and seen.count != exactly:
        raise AssertionError(_message(f"exactly {exactly}", seen, n_plus_one))
    if max is not None and seen.count > max:
        raise AssertionError(_message(f"at most {max}", seen, n_plus_one))


def _message(expected: str, seen: QueryCount, n_plus_one: int) -> str:
    listed = [f"{number:3}. {statement}" for number, statement in enumerate(seen.statements, 1)]
    counted = f"Expected {expected} statements, and {seen.count} were sent"
    return "\n".join(
        [f"{counted}:" if listed else f"{counted}.", *listed, *_loops(seen, n_plus_one)]
    )


def _loops(seen: QueryCount, n_plus_one: int) -> Iterator[str]:
    """Describe the statements that a loop seems to have sent, one after the other."""
    alike: dict[object, list[Statement]] = {}
    for statement in seen.statements:
        if statement._shape is not None:
            alike.setdefault(statement._shape, []).append(statement)
    for group in alike.values():
        if len({statement._values for statement in group}) >= n_plus_one:
            first = group[0]
            yield (
                f"Suspected N+1: {len(group)} times, with different parameters, at "
                f"{first.call_site or 'the end of the transaction'}: {_one_line(first.sql)}\n"
                f"     {_cure(first)}"
            )


def _cure(statement: Statement) -> str:
    if statement.relation:
        return (
            f"It loads {statement.relation} of one object after the other. Load them with the objects: "
            f".options(selectinload({statement.relation}))"
        )
    if only_reads(statement.sql):
        return "Ask for all at once: .where(column.in_(values)), or a join."
    return "Send all at once: session.execute(statement, rows)."


def _one_line(sql: str) -> str:
    return " ".join(sql.split())


class _Recorder:
    """Listens to SQLAlchemy, and notes what is the handle's."""

    def __init__(self, database: BaseDatabase) -> None:
        self._database = database
        self.seen = QueryCount()
        self._running: dict[object, tuple[Statement, float]] = {}
        self._numbers = count()
        # One for each transaction, more or less. An id() may be given again.
        self._connections: WeakKeyDictionary[Connection, int] = WeakKeyDictionary()

    def listeners(self) -> Iterator[tuple[Any, str, Any]]:
        """Name what to listen to."""
        yield Session, "do_orm_execute", self._note_relation
        yield Engine, "before_cursor_execute", self._before
        yield Engine, "after_cursor_execute", self._after
        yield Engine, "handle_error", self._failed

    def _before(
        self,
        connection: Connection,
        cursor: object,
        sql: str,
        parameters: Any,
        context: Any,
        executemany: bool,  # noqa: FBT001 - SQLAlchemy's
    ) -> None:
        if _CONTROL.match(sql) or not self._is_ours(connection):
            return
        frames = list(stack(sys._getframe(1)))
        if is_from_preset(frames):
            return
        relation = context.execution_options.get(_RELATION)
        statement = Statement(sql, _sets(parameters, context, executemany), call_site(frames))
        statement.relation = relation or None
        if not (executemany or relation == _EAGER or is_from_flush(frames)):
            statement._shape = (self._number(connection), _shape(sql, context), relation)
            statement._values = hash(repr(parameters))
        self.seen.statements.append(statement)
        self._running[context] = statement, time.perf_counter()

    def _after(
        self,
        connection: Connection,
        cursor: object,
        sql: str,
        parameters: Any,
        context: Any,
        executemany: bool,  # noqa: FBT001
    ) -> None:
        self._stop(context)

    def _failed(self, failure: ExceptionContext) -> None:
        self._stop(failure.execution_context)

    def _stop(self, context: object) -> None:
        if context in self._running:
            statement, since = self._running.pop(context)
            statement.seconds = time.perf_counter() - since

    def _note_relation(self, state: ORMExecuteState) -> None:
        # A method, so that a block inside of another one has a listener of its own to take away.
        path = state.loader_strategy_path if state.is_relationship_load else None
        if path is not None:
            relation = str(path[-1]) if state.lazy_loaded_from is not None else _EAGER
            state.update_execution_options(**{_RELATION: relation})

    def _is_ours(self, connection: Connection) -> bool:
        # Engines with options of their own share the pool of one of the two.
        pool = connection.engine.pool
        runs = [run.engines for run in self._database._runs.values() if run.engines is not None]
        return any(pool in (engines.write.pool, engines.read.pool) for engines in runs)

    def _number(self, connection: Connection) -> int:
        if connection not in self._connections:
            self._connections[connection] = next(self._numbers)
        return self._connections[connection]


def _sets(parameters: Any, context: Any, executemany: bool) -> int:  # noqa: FBT001
    """Count the rows that go in one."""
    if not executemany:
        return 1
    if isinstance(parameters, list):
        return len(parameters)
    # INSERT ... VALUES (...), (...): the values of all rows, one after the other.
    row = len(context.parameters[0])
    return len(parameters) // row if row else 1


def _shape(sql: str, context: Any) -> str:
    """Return the text before IN gets one placeholder for each value."""
    return getattr(context.compiled, "string", sql)
