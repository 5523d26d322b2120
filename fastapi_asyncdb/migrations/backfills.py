"""``backfill``: changes the rows of a large table in batches, each of which is committed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from alembic.runtime.migration import MigrationContext
from sqlalchemy import ClauseElement, Connection, Table, TableClause, column, literal, update
from sqlalchemy import table as table_clause

from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.migrations.batches import Batches, Key, Where, condition, pause_for
from fastapi_asyncdb.throttle import Throttle

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_RECORDS = 5.0


@dataclass(frozen=True, slots=True)
class BackfillProgress:
    """How far a backfill is. ``str()`` is a line for a log."""

    table: str
    done: int
    """Rows that were changed."""
    total: int
    """Rows that matched at the start."""
    seconds: float
    """Since the start."""

    @property
    def rate(self) -> float:
        """Rows per second."""
        return self.done / self.seconds if self.seconds else 0.0

    @property
    def remaining(self) -> float | None:
        """Seconds that the rest will take; ``None`` before the first rows."""
        return max(self.total - self.done, 0) / self.rate if self.rate else None

    def __str__(self) -> str:
        left = "" if self.remaining is None else f", about {self.remaining:.0f} s left"
        return f"{self.table}: {self.done} of {self.total} rows, {self.rate:.0f} rows/s{left}"


def backfill(
    bind: Connection | MigrationContext,
    table: str | Table,
    *,
    values: Mapping[str, Any],
    where: Where,
    batch_size: int = 1000,
    pause: float = 0.0,
    progress: Callable[[BackfillProgress], object] | None = None,
) -> int:
    """Change the rows of a table that match a condition, in batches that are committed.

    Each batch is the next rows in the order of the primary key, so that no row is looked at twice. A row
    that has been changed must not match any more: then a backfill that was interrupted goes on where it
    was when it is started again. A batch that meets a deadlock or waits too long for a lock is repeated,
    five times at most.

    Args:
        bind: ``op.get_context()`` in a revision: what came before is committed. A connection that is in
            no transaction elsewhere; ``await connection.run_sync(backfill, ...)`` if it is asynchronous.
        table: The table, or its name, with its schema if it has one.
        values: The new values by column, or expressions: ``sa.func.lower(sa.column("email"))``.
        where: Which rows are to be changed: ``"slug IS NULL"``, as in ``sqlalchemy.text``.
        batch_size: Rows in a batch. Other transactions wait for a row for as long as one batch takes.
        pause: Seconds between two batches, for replicas and VACUUM to keep up.
        progress: Called after each batch; by default a record is logged, every five seconds at most.

    Returns:
        The number of rows that were changed.

    Raises:
        ConfigurationError: the connection is in a transaction; the table has no primary key.
    """
    if batch_size < 1 or not values:
        raise ConfigurationError(
            f"A backfill with batch_size={batch_size} and {len(values)} values changes nothing. Both "
            "have to be at least 1."
        )
    if isinstance(bind, Connection):
        return _run(Batches(bind, table, values, where), batch_size, pause, progress)
    with bind.autocommit_block():
        if bind.as_sql:
            _print(bind, table, values, where)
            return 0
        if bind.connection is None:
            raise ConfigurationError("The context of the migration has no connection.")
        return _run(Batches(bind.connection, table, values, where), batch_size, pause, progress)


def _print(
    context: MigrationContext,
    name: str | Table,
    values: Mapping[str, Any],
    where: Where,
) -> None:
    """Write one statement for a script of SQL, which cannot repeat any."""
    target: TableClause = name if isinstance(name, Table) else _described(name, values)
    context.impl.static_output("-- Alembic itself does this in batches:")
    context.impl.execute(update(target).values(dict(values)).where(condition(where)))


def _described(name: str, values: Mapping[str, Any]) -> TableClause:
    schema, _, plain = name.rpartition(".")
    columns = (
        column(each, None if isinstance(value, ClauseElement) else literal(value).type)
        for each, value in values.items()
    )
    return table_clause(plain, *columns, schema=schema or None)


def _run(
    work: Batches,
    size: int,
    pause: float,
    progress: Callable[[BackfillProgress], object] | None,
) -> int:
    started, total, done = time.monotonic(), work.count(), 0
    report = progress or _logging()
    after: Key | None = None
    while (end := work.end_of_batch(after, size)) is not None:
        done += work.change(after, end)
        after = end
        report(BackfillProgress(work.name, done, total, time.monotonic() - started))
        if pause:
            pause_for(pause)
    logger.info("%s: changed %d rows in %.1f s", work.name, done, time.monotonic() - started)
    return done


def _logging() -> Callable[[BackfillProgress], None]:
    throttle = Throttle(_SECONDS_BETWEEN_RECORDS)

    def log(progress: BackfillProgress) -> None:
        if throttle.admit() is not None:
            logger.info("%s", progress)

    return log
