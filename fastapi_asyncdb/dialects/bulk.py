"""Many rows for one table: what the data access passes to a database that has a faster way in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal, Protocol

from sqlalchemy import Column, ColumnElement, Connection, Table
from sqlalchemy.sql.dml import Insert

UpsertOutcome = Literal["created", "updated", "skipped"]
"""What an upsert has done with a row."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows that fill the same columns."""

    table: Table
    columns: tuple[Column[Any], ...]
    values: Sequence[list[Any]]
    """One for each row, in the order of the columns, before SQLAlchemy's types process them."""

    def parameters(self) -> list[dict[str, Any]]:
        """Return them as SQLAlchemy's ``execute()`` takes them."""
        keys = [column.key for column in self.columns]
        return [dict(zip(keys, values, strict=True)) for values in self.values]


@dataclass(frozen=True, slots=True)
class Upsert:
    """What happens to a row whose key is stored already."""

    table: Table
    conflict: tuple[Column[Any], ...]
    """The columns of a unique index."""
    where: ColumnElement[bool] | None = None
    """The condition of that index, if it is a partial one."""
    update: tuple[Column[Any], ...] = ()
    """The columns that get the new row's values; with none of them, the stored row stays as it is."""
    also: Mapping[Column[Any], Any] = field(default_factory=dict)
    """Other columns that are set then, each to a value or an expression."""
    only: ColumnElement[bool] | None = None
    """The condition of stored rows that may be updated; all others stay as they are."""


UpsertStatement = Callable[[Upsert], Insert]
"""Returns the INSERT, still without any values."""


def on_conflict(dialect: str) -> UpsertStatement:
    """Return what builds ``INSERT ... ON CONFLICT``, which PostgreSQL and SQLite have in common.

    Args:
        dialect: The module that has the dialect's own ``insert``. It is imported with the first
            statement: most applications have one database.
    """

    def statement(upsert: Upsert) -> Insert:
        target = {"index_elements": upsert.conflict, "index_where": upsert.where}
        into = import_module(dialect).insert(upsert.table)
        if not upsert.update:
            return into.on_conflict_do_nothing(**target)  # type: ignore[no-any-return]
        new = {column.key: into.excluded[column.key] for column in upsert.update}
        also = {column.key: value for column, value in upsert.also.items()}
        target["where"] = upsert.only
        return into.on_conflict_do_update(**target, set_=new | also)  # type: ignore[no-any-return]

    return statement


class BulkLoader(Protocol):
    """A faster way into the tables of one database than INSERT with parameters."""

    def insert(self, connection: Connection, rows: Rows) -> bool:
        """Insert the rows; return ``False``, and do nothing, if INSERT is faster or safer."""
        ...

    def upsert(
        self, connection: Connection, rows: Rows, statement: Insert, upsert: Upsert, *, report: bool
    ) -> Sequence[UpsertOutcome] | None:
        """Insert or update the rows, no two of which have the same key.

        Args:
            connection: In its transaction.
            rows: The rows.
            statement: The upsert, without any values.
            upsert: What the statement was built from.
            report: Whether the outcomes are needed.

        Returns:
            What happened to each row if ``report`` is true, else nothing; ``None``, and nothing is
            done, if the statement with parameters is faster or safer.
        """
        ...
