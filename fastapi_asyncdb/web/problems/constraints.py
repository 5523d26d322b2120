"""Names of constraints and columns, by what the metadata knows of the tables.

PostgreSQL and MySQL name the constraint that a statement violated, and not its columns; SQLite the other
way round. The metadata has both.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from sqlalchemy import (
    ForeignKeyConstraint,
    Index,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
)
from sqlalchemy.schema import ColumnCollectionConstraint

from fastapi_asyncdb.dialects import Rejection

# The names that PostgreSQL gives to constraints without one, as the server's code has them:
# https://github.com/postgres/postgres/blob/master/src/backend/commands/indexcmds.c
_SUFFIXES = {UniqueConstraint: "key", ForeignKeyConstraint: "fkey"}


def complete(rejection: Rejection, metadata: MetaData) -> Rejection:
    """Return the rejection with the constraint's name and columns, as far as the metadata has them."""
    for table, constraint in _constraints(rejection.table, metadata):
        columns = tuple(column.name for column in constraint.columns)
        if rejection.constraint is None:
            if _is_meant(constraint, columns, rejection):
                return replace(rejection, constraint=_name(constraint))
        elif rejection.constraint in _names(table, constraint, rejection):
            name = _name(constraint) or rejection.constraint
            return replace(rejection, constraint=name, columns=rejection.columns or columns)
    return rejection


def _is_meant(
    constraint: ColumnCollectionConstraint | Index, columns: tuple[str, ...], rejection: Rejection
) -> bool:
    if rejection.kind != "unique" or columns != rejection.columns:
        return False
    return isinstance(constraint, UniqueConstraint | PrimaryKeyConstraint | Index)


def _constraints(
    table_name: str | None, metadata: MetaData
) -> Iterator[tuple[Table, ColumnCollectionConstraint | Index]]:
    """Yield what has columns and refuses rows, of a table or of all."""
    for table in metadata.tables.values():
        if table_name in (None, table.name):
            for constraint in table.constraints:
                if isinstance(constraint, ColumnCollectionConstraint):
                    yield table, constraint
            for index in table.indexes:
                if index.unique:
                    yield table, index


def _name(constraint: ColumnCollectionConstraint | Index) -> str | None:
    return str(constraint.name) if isinstance(constraint.name, str) else None


def _names(
    table: Table, constraint: ColumnCollectionConstraint | Index, rejection: Rejection
) -> set[str | None]:
    """Return the name of a constraint, and those that databases give it in its place."""
    columns = [column.name for column in constraint.columns]
    own = _name(constraint)
    if isinstance(constraint, PrimaryKeyConstraint):
        # MySQL's and MariaDB's, whatever the metadata says.
        return {own, f"{table.name}_pkey"} | ({"PRIMARY"} if rejection.table else set())
    if own is not None:
        return {own}
    suffix = _SUFFIXES.get(type(constraint), "idx")
    # MySQL names a key by its first column: https://dev.mysql.com/doc/refman/8.4/en/create-table.html
    return {"_".join([table.name, *columns, suffix]), *columns[:1]}
