"""The one module that replaces methods of a dialect: for statements, COMMIT, ROLLBACK, and others.

SQLAlchemy's events are no substitute on a request's path: one listener for an engine's events makes
SQLAlchemy look for listeners at each step of each statement. A replaced method costs one call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import ref

from sqlalchemy import Connection
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor, Dialect, ExecutionContext
from sqlalchemy.pool import PoolProxiedConnection

if TYPE_CHECKING:
    from fastapi_asyncdb.dialects.deadlines import Deadlines

Method = Callable[..., Any]
Execute = Callable[..., None]
"""Executes a statement: called with the cursor, the statement, its parameters and the context."""

_STEPS = "fastapi_asyncdb_steps"
_MANY, _NO_PARAMS = "do_executemany", "do_execute_no_params"
_EXECUTIONS = ("do_execute", _MANY, _NO_PARAMS)
READS = "fastapi_asyncdb_reads"
"""The execution option of connections that only read."""


def wrap(dialect: Dialect, name: str, around: Callable[[Method], Method]) -> None:
    """Replace one method of a dialect, and of no other dialect of its class.

    Args:
        dialect: The dialect, which all engines on its pool share.
        name: The method's name, as ``"do_commit"``.
        around: Called with the method; returns the function that replaces it.
    """
    setattr(dialect, name, around(getattr(dialect, name)))


@dataclass(slots=True)
class Steps:
    """What is done around each statement, COMMIT and ROLLBACK of a dialect.

    One method runs all steps of a call; a step that no engine has set, or that nothing needs, costs
    nothing.
    """

    methods: Mapping[str, Execute]
    """The dialect's own methods, by their names."""
    refuse_write: Callable[[str, Mapping[str, Any]], None] | None = None
    """Raises if a connection that only reads is given this statement; called for such connections."""
    before_autocommit: Callable[[], None] | None = None
    """Called before each statement that may write and commits itself."""
    before: Callable[[str, ExecutionContext], None] | None = None
    """Called before each statement; raises if it must not run now."""
    failed: list[ref[object]] = field(default_factory=list)
    """One for each connection whose transaction a failed statement has ended."""
    refuse_failed: Callable[[Connection | PoolProxiedConnection], None] | None = None
    """Raises if the connection is one of these; called while there are any."""
    refuse_end: Callable[..., None] | None = None
    """Refuses COMMIT, or the release of a savepoint, likewise, and undoes it."""
    forget_failed: Callable[..., bool] | None = None
    """Forgets the failure of a connection that is rolled back; called while there are any. Returns
    whether there is something to roll back: a savepoint may have gone with its transaction."""
    streams: set[ref[object]] = field(default_factory=set)
    """One for each connection that streams."""
    end_streams: Callable[[PoolProxiedConnection], None] | None = None
    """Ends the streams of a connection before COMMIT or ROLLBACK; called while there are any."""
    is_idle: Callable[[DBAPIConnection], bool] | None = None
    """Returns whether no transaction is open, so that COMMIT and ROLLBACK have nothing to end."""
    note_end: Callable[[PoolProxiedConnection], None] | None = None
    """Called when COMMIT or ROLLBACK has ended a transaction."""
    before_commit: Callable[[PoolProxiedConnection], None] | None = None
    """Called before each COMMIT that is sent."""
    is_closed: Callable[[DBAPIConnection], bool] | None = None
    """Returns whether the driver knows that a connection is closed, and sends no COMMIT."""
    commit_failed: Callable[[PoolProxiedConnection, BaseException], None] | None = None
    """Notes the error of a COMMIT that was sent."""
    deadlines: Deadlines | None = None
    """Counts the time of a statement that has a timeout, and of COMMIT."""
    may_repeat: Callable[[Exception, DBAPICursor, ExecutionContext], bool] | None = None
    """Returns whether, by its error, the statement has not run and may be sent once more."""


def steps_of(dialect: Dialect) -> Steps:
    """Return the steps of a dialect, to set one; at first, replace the methods that execute."""
    steps: Steps | None = getattr(dialect, _STEPS, None)
    if steps is None:
        steps = Steps(
            {name: _with_parameters(name, getattr(dialect, name)) for name in _EXECUTIONS}
        )
        setattr(dialect, _STEPS, steps)
        wrap(dialect, "do_rollback", partial(_rollback_in_steps, steps))
        wrap(dialect, "do_commit", partial(_commit_in_steps, steps, dialect))
        wrap(dialect, "do_release_savepoint", partial(_release_in_steps, steps, dialect))
        # The failure is forgotten first: ROLLBACK TO is a statement, and would be refused.
        wrap(dialect, "do_rollback_to_savepoint", partial(_rollback_in_steps, steps))
        for name, execute in steps.methods.items():
            _put(dialect, name, _in_steps(execute, steps, many=name == _MANY))
    return steps


def surround_statements(dialect: Dialect, around: Callable[[Execute], Execute]) -> None:
    """Put a function around each statement of a dialect's copy, inside of the steps that refuse it.

    Args:
        dialect: The copy; its original stays as it is.
        around: Called with what executes; returns what replaces it.
    """
    steps = steps_of(dialect)
    inner = Steps({}, deadlines=steps.deadlines, may_repeat=steps.may_repeat)
    outer = Steps(
        {},
        refuse_write=steps.refuse_write,
        before_autocommit=steps.before_autocommit,
        before=steps.before,
        failed=steps.failed,
        refuse_failed=steps.refuse_failed,
    )
    for name, execute in steps.methods.items():
        many = name == _MANY
        surrounded = around(_in_steps(execute, inner, many=many))
        _put(dialect, name, _in_steps(surrounded, outer, many=many))


def _in_steps(  # noqa: C901 - on the path of each statement, a step is no call
    execute: Execute, steps: Steps, *, many: bool
) -> Execute:
    """Return the function that runs the steps. On a request's path: no call without need."""

    def run(  # noqa: C901 - likewise
        cursor: DBAPICursor,
        statement: str,
        parameters: Any,
        context: ExecutionContext | None = None,
    ) -> None:
        if context is None:
            return execute(cursor, statement, parameters, context)
        options = context.execution_options
        if steps.refuse_write is not None and options.get(READS):
            steps.refuse_write(statement, options)
        if steps.before_autocommit is not None and _may_write_in_autocommit(options):
            steps.before_autocommit()
        if steps.failed and steps.refuse_failed is not None:
            steps.refuse_failed(context.root_connection)
        if steps.before is not None:
            steps.before(statement, context)
        deadlines = steps.deadlines
        # The server counts anew for each set of parameters.
        counts = deadlines is not None and deadlines.begin(
            context, statement, len(parameters) if many else 1
        )
        try:
            try:
                return execute(cursor, statement, parameters, context)
            except Exception as error:
                if not _may_repeat(steps, error, cursor, context):
                    raise
            return execute(cursor, statement, parameters, context)
        finally:
            if counts and deadlines is not None:
                del deadlines.running[context]

    return run


def _may_write_in_autocommit(options: Mapping[str, Any]) -> bool:
    return options.get("isolation_level") == "AUTOCOMMIT" and not options.get(READS)


def _may_repeat(
    steps: Steps, error: Exception, cursor: DBAPICursor, context: ExecutionContext
) -> bool:
    return steps.may_repeat is not None and steps.may_repeat(error, cursor, context)


def _commit_in_steps(  # noqa: C901 - likewise
    steps: Steps, dialect: Dialect, commit: Method
) -> Method:
    def do_commit(connection: PoolProxiedConnection) -> None:  # noqa: C901 - likewise
        if steps.streams and steps.end_streams is not None:
            steps.end_streams(connection)
        if steps.failed and steps.refuse_end is not None:
            steps.refuse_end(connection, dialect.do_rollback)
        raw = connection.dbapi_connection
        if steps.is_idle is not None and _is_idle(steps, connection):
            return
        if steps.before_commit is not None:
            steps.before_commit(connection)
        closed = raw is None or (steps.is_closed is not None and steps.is_closed(raw))
        deadlines = steps.deadlines
        counts = deadlines is not None and not closed and deadlines.begin_commit(connection)
        try:
            commit(connection)
        except BaseException as error:
            if not closed and steps.commit_failed is not None:
                steps.commit_failed(connection, error)
            raise
        finally:
            if counts and deadlines is not None:
                del deadlines.running[connection]
        if steps.note_end is not None:
            steps.note_end(connection)

    return do_commit


def _release_in_steps(steps: Steps, dialect: Dialect, release: Method) -> Method:
    def do_release_savepoint(connection: Connection, name: str) -> None:
        if steps.failed and steps.refuse_end is not None:
            steps.refuse_end(connection, dialect.do_rollback_to_savepoint, name)
        release(connection, name)

    return do_release_savepoint


def _rollback_in_steps(steps: Steps, rollback: Method) -> Method:
    def do_rollback(connection: PoolProxiedConnection, *name: str) -> None:
        if steps.streams and steps.end_streams is not None and not name:
            steps.end_streams(connection)
        forget = steps.forget_failed
        if steps.failed and forget is not None and not forget(connection, *name):
            return
        if steps.is_idle is None or name or not _is_idle(steps, connection):
            rollback(connection, *name)
            if steps.note_end is not None and not name:
                steps.note_end(connection)

    return do_rollback


def _is_idle(steps: Steps, connection: PoolProxiedConnection) -> bool:
    raw = connection.dbapi_connection
    return raw is not None and steps.is_idle is not None and steps.is_idle(raw)


def _with_parameters(name: str, method: Method) -> Execute:
    """Return a method that takes parameters, as the others do."""
    if name != _NO_PARAMS:
        return method
    return lambda cursor, statement, parameters, context: method(cursor, statement, context)


def _put(dialect: Dialect, name: str, execute: Execute) -> None:
    def without_parameters(
        cursor: DBAPICursor, statement: str, context: ExecutionContext | None = None
    ) -> None:
        execute(cursor, statement, (), context)

    setattr(dialect, name, without_parameters if name == _NO_PARAMS else execute)


def info_of(connection: Connection | PoolProxiedConnection) -> dict[Any, Any]:
    """Return what is kept with a connection as long as it lives."""
    try:
        return connection.info
    except NotImplementedError:
        # SQLAlchemy asks a new server for its version on a connection that is in no pool.
        return {}
