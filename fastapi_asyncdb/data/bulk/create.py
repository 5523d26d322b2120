"""``create_many``: rows in bulk, without an object for each; and the way of any rows into a table."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any, TypeVar

from sqlalchemy import Connection, insert
from sqlalchemy.engine import Result
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session
from sqlalchemy.sql.base import Executable

from fastapi_asyncdb.data.bulk.batches import Progress, write_batches
from fastapi_asyncdb.data.bulk.columns import ModelTable, Row
from fastapi_asyncdb.data.values import ManyRows
from fastapi_asyncdb.dialects import backend_of
from fastapi_asyncdb.dialects.bulk import BulkLoader, Rows
from fastapi_asyncdb.dialects.calls import READS

M = TypeVar("M")


async def create_many(
    session: AsyncSession,
    model: type[M],
    rows: ManyRows[M],
    *,
    batch_size: int | None = None,
    progress: Progress | None = None,
) -> int:
    """Insert many rows, in the session's transaction, which the caller commits.

    No objects are made: ORM events and validators do not run. On PostgreSQL a large batch is copied,
    where COPY stores the same as INSERT: https://www.postgresql.org/docs/current/populate.html#POPULATE-COPY-FROM

    Args:
        session: Any session. Its pending objects are flushed before each batch.
        model: The mapped class.
        rows: Values by attribute, or instances, which stay outside of the session.
        batch_size: Rows in memory at a time; 5,000 by default.
        progress: Called after each batch with the number of rows so far.

    Returns:
        The number of rows.

    Raises:
        TypeError: a row has an attribute that is no column of the model.
        sqlalchemy.exc.IntegrityError: a row violates a constraint, as in a flush. On PostgreSQL the
            transaction is lost then, unless it was ``session.begin_nested()``.
    """
    writer = TableWriter(ModelTable(model))

    async def write(batch: list[Any]) -> None:
        await session.run_sync(writer.insert, batch)

    return await write_batches(rows, write, batch_size=batch_size, progress=progress)


class TableWriter:
    """Writes batches into the table of a model, on the connection of a session."""

    def __init__(self, target: ModelTable[Any]) -> None:
        self.target = target
        self._arguments: Any = {"mapper": target.mapper}

    def insert(self, session: Session, batch: list[Any]) -> None:
        """Insert a batch."""
        flush(session)
        for rows in self._alike(self.target.row(data) for data in batch):
            loader = self.loader(session)
            if loader is None or not loader.insert(self.connection(session), rows):
                self.execute(session, insert(rows.table), rows.parameters())

    def _alike(self, rows: Iterable[Row]) -> Iterator[Rows]:
        """Put together the rows that have values for the same columns."""
        groups: dict[frozenset[str], list[Row]] = {}
        for row in rows:
            groups.setdefault(row.names, []).append(row)
        for names, group in groups.items():
            yield self.rows(names, group)

    def rows(self, names: Collection[str], rows: Iterable[Row]) -> Rows:
        """Return rows that have the same attributes, with what a flush would add to each."""
        target = self.target
        constants = target.constants(names)
        given = [name for name in target.columns if name in names]
        columns = tuple(target.columns[name] for name in (*given, *constants))
        # Slow with a generator for each row: this runs for each value.
        values = [list(map(row.values.__getitem__, given)) for row in rows]
        for each in values if constants else ():
            each += constants.values()
        return Rows(target.table, columns, values)

    def dialect(self, session: Session) -> Dialect:
        """Return the dialect of the model's engine."""
        return session.get_bind(**self._arguments).dialect

    def loader(self, session: Session) -> BulkLoader | None:
        """Return the faster way in; ``None`` if there is none, or the session only reads."""
        bind = session.get_bind(**self._arguments)
        backend = backend_of(bind.dialect)
        # The statement of a reading session is refused, with its own error.
        reads = bind.get_execution_options().get(READS)
        return None if backend is None or reads else backend.loader

    def connection(self, session: Session) -> Connection:
        """Return the connection of the model's rows, in its transaction."""
        return session.connection(bind_arguments=self._arguments)

    def execute(self, session: Session, statement: Executable, parameters: Any) -> Result[Any]:
        """Execute a statement for the table."""
        return session.execute(statement, parameters, bind_arguments=self._arguments)


def flush(session: Session) -> None:
    """Flush what is pending, as a query would: in a block of ``no_autoflush`` nothing."""
    if session.autoflush:
        session.flush()
