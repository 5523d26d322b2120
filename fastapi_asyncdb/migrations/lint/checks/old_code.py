"""Checks of what the code that runs still uses: what is dropped while models have it, and renames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from sqlalchemy import MetaData

from fastapi_asyncdb.migrations.lint.finding import Finding
from fastapi_asyncdb.migrations.lint.revision import Revision
from fastapi_asyncdb.migrations.lint.statements import Statement, plain_name

Part = tuple[str, str | None]
"""A table, and a column of it, or ``None`` for the whole table."""


def check_mapped(revisions: Sequence[Revision], models: Iterable[MetaData]) -> list[Finding]:
    """Return what is dropped for good while the models still have it.

    Args:
        revisions: From the oldest: a later one may add again what an earlier one drops.
        models: The tables as the models have them.
    """
    mapped = set(_parts(models))
    found: list[Finding] = []
    for revision in reversed(revisions):
        for statement in reversed(revision.upgrade.statements):
            mapped.difference_update(added(statement))
            if mapped.intersection(dropped(statement)):
                found.append(revision.finding_of("dropped-but-mapped", statement))
    return found


def _parts(models: Iterable[MetaData]) -> Iterator[Part]:
    for metadata in models:
        for table in metadata.tables.values():
            name = plain_name(table.fullname)
            yield name, None
            yield from ((name, column.name) for column in table.columns)


def added(statement: Statement) -> Iterator[Part]:
    """Return what a statement makes, renaming included."""
    if statement.created_table:
        yield statement.created_table, None
    for column in statement.added_columns():
        yield statement.altered_table or "", column


def dropped(statement: Statement) -> Iterator[Part]:
    """Return what a statement drops."""
    if statement.dropped_table:
        yield statement.dropped_table, None
    for column in statement.dropped_columns():
        yield statement.altered_table or "", column


def check_plain(revision: Revision) -> Iterator[Finding]:
    """Check, on databases that squawk does not know, what breaks on every database."""
    for statement in revision.existing():
        for rule in _rules(statement):
            yield revision.finding_of(rule, statement)


def _rules(statement: Statement) -> Iterator[str]:
    if statement.dropped_table:
        yield "ban-drop-table"
    if statement.altered_table is None:
        return
    if any(statement.dropped_columns()):
        yield "ban-drop-column"
    if statement.matches(r"\bRENAME TO\b"):
        yield "renaming-table"
    elif statement.matches(r"\bRENAME (COLUMN )?\S+ TO\b|\bCHANGE (COLUMN )?(\S+) (?!\2 )"):
        yield "renaming-column"
    required = any(statement.added_columns()) and statement.matches(r"\bNOT NULL\b")
    if required and not statement.matches(r"\b(DEFAULT|GENERATED|AUTO_INCREMENT)\b"):
        yield "adding-required-field"
