"""The schema of a database as text, to compare it before and after a revision."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, inspect
from sqlalchemy.dialects.postgresql.base import PGInspector
from sqlalchemy.engine.reflection import Inspector

Schema = dict[str, list[str]]
"""For each table, and for views, enums and sequences: a line for each part."""


def reflect(connection: Connection) -> Schema:
    """Return the schema, without Alembic's own table."""
    inspector = inspect(connection)
    schema = {
        f"table {table}": sorted(_parts(inspector, table))
        for table in inspector.get_table_names()
        if table != "alembic_version"
    }
    schema["views"] = sorted(inspector.get_view_names())
    if isinstance(inspector, PGInspector):
        # op.drop_table does not drop the type, so that revisions often leave it behind.
        schema["enums"] = sorted(
            f"{enum['name']} {enum['labels']}" for enum in inspector.get_enums()
        )
    if connection.dialect.supports_sequences:
        schema["sequences"] = sorted(inspector.get_sequence_names())
    return schema


def changes(wanted: Schema, found: Schema) -> list[str]:
    """Return one line for each difference."""
    return [line for key in sorted(wanted | found) for line in _changes(key, wanted, found)]


def _changes(key: str, wanted: Schema, found: Schema) -> Iterator[str]:
    if key not in found:
        yield f"{key} is missing"
    elif key not in wanted:
        yield f"{key} is there, and should not be"
    else:
        yield from (f"{key}: missing {part}" for part in wanted[key] if part not in found[key])
        yield from (f"{key}: unexpected {part}" for part in found[key] if part not in wanted[key])


def _parts(inspector: Inspector, table: str) -> Iterator[str]:
    for column in inspector.get_columns(table):
        yield _words("column", {**column, "type": repr(column["type"])})
    yield _words("primary key", inspector.get_pk_constraint(table))
    for kind, get in (
        ("foreign key", inspector.get_foreign_keys),
        ("unique constraint", inspector.get_unique_constraints),
        ("check constraint", inspector.get_check_constraints),
        ("index", inspector.get_indexes),
    ):
        for found in get(table):
            yield _words(kind, found)


def _words(kind: str, found: Any) -> str:
    details = ", ".join(f"{key}={value!r}" for key, value in sorted(found.items()) if key != "name")
    return f"{kind} {found.get('name')} ({details})"
