"""Names of constraints, by what the metadata knows of the tables.

PostgreSQL names the constraint that a statement violated, and not its columns; SQLite the other way
round. The metadata has both.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from sqlalchemy import (
    ColumnCollectionConstraint,
    ForeignKeyConstraint,
    Index,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
)

from fastapi_asyncdb.dialects import Rejection

Constraint = ColumnCollectionConstraint | Index

# The names that PostgreSQL gives to constraints without one:
# https://www.postgresql.org/docs/current/sql-createtable.html
_SUFFIXES = {UniqueConstraint: "key", ForeignKeyConstraint: "fkey"}


def complete(rejection: Rejection, metadata: MetaData) -> Rejection:
    """Return the rejection with the constraint's name and columns, as far as the metadata has them."""
    if rejection.kind == "check":
        return rejection
    for table, constraint in _constraints(rejection, metadata):
        columns = tuple(column.name for column in constraint.columns)
        if rejection.constraint is None and columns == rejection.columns:
            return replace(rejection, constraint=_name(constraint))
        if rejection.constraint in (_name(constraint), _default_name(table, constraint)):
            return replace(rejection, columns=rejection.columns or columns)
    return rejection


def _constraints(rejection: Rejection, metadata: MetaData) -> Iterator[tuple[Table, Constraint]]:
    """Yield what the rejection may be of: keys, and unique indexes."""
    if rejection.kind not in ("unique", "foreign key"):
        return
    foreign = rejection.kind == "foreign key"
    for table in metadata.tables.values():
        if table.name != rejection.table:
            continue
        for constraint in (*table.constraints, *table.indexes):
            if isinstance(constraint, Index) and not constraint.unique:
                continue
            if isinstance(constraint, Constraint) and foreign is isinstance(
                constraint, ForeignKeyConstraint
            ):
                yield table, constraint


def _name(constraint: Constraint) -> str | None:
    return str(constraint.name) if isinstance(constraint.name, str) else None


def _default_name(table: Table, constraint: Constraint) -> str:
    if isinstance(constraint, PrimaryKeyConstraint):
        return f"{table.name}_pkey"
    columns = "_".join(column.name for column in constraint.columns)
    return f"{table.name}_{columns}_{_SUFFIXES.get(type(constraint), 'idx')}"
