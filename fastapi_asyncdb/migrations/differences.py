"""Differences between the tables of a migrated database and those of the models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, DefaultClause, Enum, MetaData, Table, inspect
from sqlalchemy.dialects.postgresql.base import PGInspector
from sqlalchemy.engine.reflection import Inspector
from sqlalchemy.schema import ColumnCollectionConstraint, SchemaItem


def differences(connection: Connection, metadata: MetaData) -> list[str]:
    """Return one line for each difference."""
    context = MigrationContext.configure(connection, opts={"target_metadata": metadata})
    found = compare_metadata(context, metadata)
    return [*lines_of(found), *missed_by_alembic(connection, metadata)]


def lines_of(found: Iterable[Any]) -> list[str]:
    """Return one line for each difference that Alembic has found."""
    return [line for each in found for line in _lines(each)]


def _lines(found: Any) -> Iterator[str]:
    """Describe one difference; those of a column come as a list."""
    if isinstance(found, list):
        for each in found:
            yield from _lines(each)
        return
    action, *details = found
    if action.startswith("modify_"):
        schema, name, column, _, old, new = details
        table = f"{schema}.{name}" if schema else name
        what = action.removeprefix("modify_").replace("_", " ")
        yield f"{table}.{column}: {what} is {_shown(old)} in the database, {_shown(new)} in the models"
        return
    where = next((each for each in reversed(details) if isinstance(each, SchemaItem)), None)
    if where is None:
        yield _of_an_extension(action, details)
        return
    kind, table = action.split("_", 1)[1].replace("_", " "), getattr(where, "table", None)
    owner = f"{table.fullname}: " if table is not None else ""
    place = "the models" if action.startswith("add") else "the database"
    yield f"{owner}{kind} {_name(where)} is only in {place}"


def _name(where: SchemaItem) -> str:
    if isinstance(where, Table):
        return where.fullname
    name = getattr(where, "name", None)
    if name is None and isinstance(where, ColumnCollectionConstraint):
        return f"on {', '.join(column.name for column in where.columns)}"
    return str(name or where)


def _shown(value: object) -> str:
    """Return a value, or the SQL of a default."""
    if isinstance(value, DefaultClause):
        return value.arg if isinstance(value.arg, str) else str(value.arg)
    return repr(value)


def _of_an_extension(action: str, details: Iterable[Any]) -> str:
    """Describe an operation of another package's, which Alembic does not have, or a statement."""
    words = ", ".join(str(each) for each in details)
    return f"a revision is needed to {action.replace('_', ' ')}: {' '.join(words.split())}"


def after_env(change: Callable[[list[Any]], None]) -> Callable[[Any, Any, list[Any]], None]:
    """Return a ``process_revision_directives`` for a command that goes after the one of ``env.py``.

    Args:
        change: Called with the new revisions; it may take some away.
    """

    def process(context: Any, revision: Any, directives: list[Any]) -> None:
        process_of_env = context.opts["process_revision_directives"]

        def process_both(*arguments: Any) -> None:
            if process_of_env is not None:
                process_of_env(*arguments)
            change(directives)

        # Alembic calls it next, with the same list.
        context.opts["process_revision_directives"] = process_both

    return process


def without_empty(directives: list[Any]) -> None:
    """Take away new revisions that have no difference."""
    if all(each.upgrade_ops.is_empty() for each in directives):
        directives.clear()


def missed_by_alembic(connection: Connection, metadata: MetaData) -> list[str]:
    """Describe differences that Alembic does not report, and that make an INSERT fail.

    Alembic can compare the texts of defaults, which databases rewrite, so that it finds differences
    that are none. https://alembic.sqlalchemy.org/en/latest/autogenerate.html
    """
    return list(_missed(inspect(connection), metadata))


def _missed(inspector: Inspector, metadata: MetaData) -> Iterator[str]:
    labels = _labels(inspector)
    for table in metadata.sorted_tables:
        if inspector.has_table(table.name, table.schema):
            yield from _defaults(inspector, table)
            yield from _primary_key(inspector, table)
        yield from _enums(labels, table)


def _defaults(inspector: Inspector, table: Table) -> Iterator[str]:
    for found in inspector.get_columns(table.name, table.schema):
        column = table.columns.get(found["name"])
        wanted = column is not None and isinstance(column.server_default, DefaultClause)
        if wanted and found["default"] is None:
            yield f"{table.fullname}.{found['name']}: server default is only in the models"


def _primary_key(inspector: Inspector, table: Table) -> Iterator[str]:
    found = inspector.get_pk_constraint(table.name, table.schema)["constrained_columns"]
    wanted = [column.name for column in table.primary_key]
    if set(found) != set(wanted):
        yield f"{table.fullname}: primary key is {found} in the database, {wanted} in the models"


def _labels(inspector: Inspector) -> dict[tuple[str | None, str], list[str]]:
    """Return those of each type that is an enum, by its schema; ``None`` is that of the search path."""
    if not isinstance(inspector, PGInspector):
        return {}
    found: dict[tuple[str | None, str], list[str]] = {}
    for enum in inspector.get_enums(schema="*"):
        found[enum["schema"], enum["name"]] = enum["labels"]
        if enum["visible"]:
            found[None, enum["name"]] = enum["labels"]
    return found


def _enums(labels: dict[tuple[str | None, str], list[str]], table: Table) -> Iterator[str]:
    for column in table.columns:
        kind = getattr(column.type, "item_type", column.type)
        if isinstance(kind, Enum) and kind.name is not None:
            known = labels.get((kind.schema, kind.name))
            for label in () if known is None else sorted(set(kind.enums) - set(known)):
                yield f"{table.fullname}.{column.name}: {label!r} of {kind.name} is only in the models"
