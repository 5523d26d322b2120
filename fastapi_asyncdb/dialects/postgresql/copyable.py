"""Which rows COPY stores exactly as INSERT would; all others are inserted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import (
    ARRAY,
    JSON,
    Boolean,
    Column,
    ColumnDefault,
    ColumnElement,
    Connection,
    Date,
    DateTime,
    Integer,
    Interval,
    LargeBinary,
    Numeric,
    String,
    Table,
    Time,
    TypeDecorator,
    Uuid,
    and_,
    bindparam,
    cast,
    column,
    exists,
    func,
    null,
    or_,
    select,
    table,
)
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.types import TypeEngine

from fastapi_asyncdb.dialects.bulk import Rows

# Both drivers can copy these, and the server reads their text as it reads a parameter. SQLAlchemy's
# Float is a Numeric before 2.1 only.
_TYPES: tuple[type[TypeEngine[Any]], ...] = (
    *(Boolean, Date, DateTime, Integer, Interval, JSON, LargeBinary, Numeric, String),
    *(Time, Uuid, *Numeric.__bases__[:1]),
)
_CLASS = table(
    "pg_class", column("oid"), column("relkind"), column("relhasrules"), schema="pg_catalog"
)
_ATTRIBUTE = table(
    "pg_attribute",
    *map(column, ("attrelid", "attname", "atttypid", "attidentity")),
    schema="pg_catalog",
)


@dataclass(frozen=True, slots=True)
class Records:
    """Rows with all values that SQLAlchemy would send with an INSERT, as the driver takes them."""

    names: list[str]
    """Of the columns."""
    columns: tuple[Column[Any], ...]
    values: list[list[Any]]


def records_of(rows: Rows, dialect: Dialect, *, inserted: bool) -> Records | None:
    """Return rows for COPY; ``None`` if a column's type or default needs an INSERT with parameters.

    Args:
        rows: The rows.
        dialect: Of the connection.
        inserted: Whether an INSERT follows, which computes the defaults that are SQL.
    """
    missing = [
        each for each in rows.table.columns if each.default is not None and each not in rows.columns
    ]
    if inserted:
        missing = [each for each in missing if not _is_sql(each)]
    fill = [make for make in map(_maker, missing) if make is not None]
    columns = (*rows.columns, *missing)
    if len(fill) < len(missing) or not all(_is_copied(each.type, dialect) for each in columns):
        return None
    names = [each.name for each in columns]
    return Records(names, columns, list(_encoded(rows, columns, fill, dialect)))


def _is_sql(column: Column[Any]) -> bool:
    return column.default is not None and (
        column.default.is_clause_element or column.default.is_sequence
    )


def _maker(column: Column[Any]) -> Callable[[], Any] | None:
    """Return what makes the default of a column; ``None`` if that needs SQL, or the other values."""
    default = column.default
    if not isinstance(default, ColumnDefault) or _is_sql(column):
        return None
    if not default.is_callable:
        return lambda: default.arg
    # SQLAlchemy's own function, which passes nothing on to the user's.
    wrapped = getattr(default.arg, "__globals__", {}).get("__name__") == ColumnDefault.__module__
    return partial(default.arg, None) if wrapped else None


def _encoded(
    rows: Rows,
    columns: tuple[Column[Any], ...],
    fill: list[Callable[[], Any]],
    dialect: Dialect,
) -> Iterator[list[Any]]:
    processors = [each.type.dialect_impl(dialect).bind_processor(dialect) for each in columns]
    steps = [(place, process) for place, process in enumerate(processors) if process is not None]
    for values in rows.values:
        record = [*values, *(make() for make in fill)]
        for place, process in steps:
            record[place] = process(record[place])
        yield record


def _is_copied(type_: TypeEngine[Any], dialect: Dialect) -> bool:
    """Return whether COPY takes what INSERT takes for the type."""
    # Imported here: most applications have another database, or copy nothing.
    from sqlalchemy.dialects.postgresql import CITEXT, INTERVAL

    impl = type_.dialect_impl(dialect)
    if impl.bind_expression(bindparam("value")) is not None:
        return False
    while isinstance(impl, TypeDecorator):
        impl = impl.impl_instance.dialect_impl(dialect)
    if isinstance(impl, ARRAY):
        return _is_copied(impl.item_type, dialect)
    return isinstance(impl, (*_TYPES, INTERVAL)) and not isinstance(impl, CITEXT)


def takes_copies(connection: Connection, into: Table, columns: tuple[Column[Any], ...]) -> bool:
    """Ask the server whether COPY into a table means the same as INSERT.

    COPY ignores rules and identities that are always generated, is refused by row-level security, and
    converts no value to another type than the column's, as the cast of an INSERT's parameter does.
    https://www.postgresql.org/docs/current/sql-copy.html#SQL-COPY-NOTES

    Args:
        connection: Whose role and settings count.
        into: The table.
        columns: Those that are filled.
    """
    if _is_translated(connection):
        return False
    oid = _oid_of(connection, into)
    plain = exists().where(
        _CLASS.c.oid == oid, _CLASS.c.relkind.in_(("r", "p")), ~_CLASS.c.relhasrules
    )
    same = [
        and_(
            _ATTRIBUTE.c.attname == each.name,
            _ATTRIBUTE.c.atttypid == func.pg_typeof(cast(null(), each.type)),
        )
        for each in columns
    ]
    found = (
        select(func.count())
        .where(_ATTRIBUTE.c.attrelid == oid, _ATTRIBUTE.c.attidentity != "a", or_(*same))
        .scalar_subquery()
    )
    return bool(
        connection.scalar(select(plain & ~func.row_security_active(oid) & (found == len(columns))))
    )


def may_stage(connection: Connection, into: Table, *, report: bool) -> bool:
    """Ask the server whether the role may create temporary tables.

    Args:
        connection: Whose role counts.
        into: The table to which the rows go from there.
        report: Whether its rows must have system columns, which a table in partitions has not.
    """
    if _is_translated(connection):
        return False
    may: ColumnElement[bool] = func.has_database_privilege(func.current_database(), "TEMPORARY")
    if report:
        oid = _oid_of(connection, into)
        may = may & exists().where(_CLASS.c.oid == oid, _CLASS.c.relkind == "r")
    return bool(connection.scalar(select(may)))


def _is_translated(connection: Connection) -> bool:
    return bool(connection.get_execution_options().get("schema_translate_map"))


def _oid_of(connection: Connection, table: Table) -> ColumnElement[Any]:
    name = connection.dialect.identifier_preparer.format_table(table)
    # Doubled for psycopg, which would read it so in the text of a statement.
    return func.to_regclass(name.replace("%%", "%"))
