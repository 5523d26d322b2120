"""Renders the SQL of a revision without a database and without the project's ``env.py``.

A revision that reads rows cannot be rendered: what it does depends on them.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from traceback import walk_tb
from typing import Any, cast

from alembic.config import Config
from alembic.ddl.impl import DefaultImpl
from alembic.operations import BatchOperations, Operations
from alembic.operations.batch import BatchOperationsImpl
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import Script, ScriptDirectory
from sqlalchemy import ClauseElement, TextClause
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.engine.mock import MockConnection

from fastapi_asyncdb.migrations.lint.statements import Statement, split


@dataclass(frozen=True, slots=True)
class Unrendered:
    """Why the rest of a revision could not be rendered."""

    reason: str
    line: int | None


@dataclass(slots=True)
class Rendered:
    """The statements of one direction of a revision, up to the first that needs a database."""

    path: str
    statements: list[Statement] = field(default_factory=list)
    failure: Unrendered | None = None
    _transactions: int = 0
    _in_transaction: bool = True

    def write(self, text: str) -> None:
        """Take a statement from Alembic, which writes to a stream."""
        sql = text.strip().removesuffix(";")
        if re.fullmatch(r"BEGIN( \w+)*|START TRANSACTION", sql, re.IGNORECASE):
            self._in_transaction, self._transactions = True, self._transactions + 1
        elif re.fullmatch(r"COMMIT( \w+)*", sql, re.IGNORECASE):
            self._in_transaction = False
        else:
            transaction = self._transactions if self._in_transaction else None
            line = self._calling_line()
            self.statements += [Statement(each, line, transaction) for each in split(sql)]

    def flush(self) -> None:
        """Do nothing: a stream has it."""

    def _calling_line(self) -> int | None:
        frame = sys._getframe()
        while frame is not None and frame.f_code.co_filename != self.path:
            frame = frame.f_back  # type: ignore[assignment]
        return frame.f_lineno if frame is not None else None

    def fail(self, error: BaseException) -> None:
        """Keep the reason why the rest is missing, and the line of the revision."""
        lines = [
            line
            for frame, line in walk_tb(error.__traceback__)
            if frame.f_code.co_filename == self.path
        ]
        words = f"{type(error).__name__}: {error}"
        reason = str(error) if isinstance(error, _NeedsDatabase) else words
        self.failure = Unrendered(reason, lines[-1] if lines else None)


class _NeedsDatabase(AttributeError):
    """The revision asks the database something; a ``hasattr`` about it is answered with no."""


def render(
    config: Config,
    scripts: ScriptDirectory,
    script: Script,
    dialect: str,
    *,
    downgrade: bool = False,
) -> Rendered:
    """Render the upgrade of a revision, or its downgrade.

    Args:
        config: The project's configuration, for revisions that look at it.
        scripts: The directory of the revision.
        script: The revision.
        dialect: The name of SQLAlchemy's dialect.
        downgrade: Render the other direction.
    """
    rendered = Rendered(script.path)
    step = getattr(script.module, "downgrade" if downgrade else "upgrade", None)
    if step is None:
        return rendered
    with EnvironmentContext(config, scripts, as_sql=True) as environment:
        environment.configure(
            dialect_name=dialect,
            dialect_opts={"paramstyle": "named"},
            literal_binds=True,
            output_buffer=cast(Any, rendered),
        )
        with Operations.context(environment.get_context()) as operations:
            _adapt(operations, rendered)
            _call(step, rendered)
    return rendered


def _call(step: Callable[[], object], rendered: Rendered) -> None:
    try:
        step()
    # A revision may do anything, and each of its errors only means that it was not checked.
    except Exception as error:
        rendered.fail(error)


def _adapt(operations: Operations, rendered: Rendered) -> None:
    """Let revisions ask for a connection, and send what is in a batch at its own line."""
    connection = _connection(operations.migration_context)
    for name, replacement in (
        ("get_bind", lambda: connection),
        ("batch_alter_table", _batches(operations, rendered)),
    ):
        setattr(operations, name, replacement)


def _connection(context: MigrationContext) -> MockConnection:
    """Return a connection that renders what changes something, and refuses what reads."""

    def execute(statement: ClauseElement, parameters: object = None) -> _Unread:
        if parameters or not _changes(statement):
            raise _NeedsDatabase("it reads from the database, or passes parameters")
        context.impl.execute(cast(Any, statement))
        return _Unread()

    return _Connection(context.dialect, execute)


def _changes(statement: ClauseElement) -> bool:
    if isinstance(statement, TextClause):
        return re.match(r"\s*(SELECT|WITH|SHOW|VALUES)\b", statement.text, re.IGNORECASE) is None
    return not getattr(statement, "is_select", False)


class _Connection(MockConnection):
    def __getattr__(self, name: str) -> Any:
        raise _NeedsDatabase(f"it asks the database (connection.{name})")


class _Unread:
    """The result of a statement that was not sent."""

    def __getattr__(self, name: str) -> Any:
        raise _NeedsDatabase(f"it uses the result of a statement (.{name})")


def _batches(operations: Operations, rendered: Rendered) -> Callable[..., object]:
    context = operations.migration_context
    impl = context.impl
    if context.dialect.name == "sqlite":
        # SQLite copies the table, for which Alembic has to read it. What matters here is the change.
        options = {"literal_binds": True}
        impl = DefaultImpl(DefaultDialect(), None, True, True, cast(Any, rendered), options)  # noqa: FBT003

    @contextmanager
    def batch_alter_table(
        table_name: str, schema: str | None = None, **options: object
    ) -> Iterator[BatchOperations]:
        yield BatchOperations(context, impl=_Unbatched(operations, table_name, schema, impl))

    return batch_alter_table


class _Unbatched(BatchOperationsImpl):
    """Sends each operation of a batch when it is called, as a statement of its own."""

    def __init__(
        self, operations: Operations, table: str, schema: str | None, impl: DefaultImpl
    ) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            operations, table, schema, "never", None, (), {}, (), {}, None, ()
        )
        self.batch = _Sent(impl)


class _Sent(list[tuple[str, tuple[Any, ...], dict[str, Any]]]):
    def __init__(self, impl: DefaultImpl) -> None:
        super().__init__()
        self._impl = impl

    def append(self, item: tuple[str, tuple[Any, ...], dict[str, Any]]) -> None:
        name, arguments, options = item
        for key in ("insert_before", "insert_after"):
            options.pop(key, None)
        getattr(self._impl, name)(*arguments, **options)
