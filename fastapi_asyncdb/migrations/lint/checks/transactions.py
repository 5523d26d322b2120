"""Checks of what one transaction does: rows written under a lock, and statements that it refuses."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from fastapi_asyncdb.migrations.lint.finding import Finding
from fastapi_asyncdb.migrations.lint.revision import COMMIT_EACH, Revision
from fastapi_asyncdb.migrations.lint.statements import Statement

_REPEATABLE = r"\bIF (NOT )?EXISTS\b|^(SET|RESET|SELECT|ANALYZE|VACUUM)\b|\bVALIDATE CONSTRAINT\b"


def check_transactions(revision: Revision) -> Iterator[Finding]:
    """Return what PostgreSQL refuses in a transaction, and what a second run would fail at."""
    statements = revision.upgrade.statements
    for number, statement in enumerate(statements):
        if statement.transaction is None:
            continue
        if statement.matches(r"\bCONCURRENTLY\b"):
            yield revision.finding_of("concurrently-in-transaction", statement)
        value = _added_value(statement)
        for later in statements[number + 1 :]:
            if value and later.transaction == statement.transaction and f"'{value}'" in later.sql:
                yield revision.finding_of("enum-value-in-use", later)
    yield from _commits(revision, statements)


def _added_value(statement: Statement) -> str | None:
    pattern = r"ALTER TYPE \S+ ADD VALUE (?:IF NOT EXISTS )?'([^']+)'"
    found = re.match(pattern, statement.words, re.IGNORECASE)
    return found[1] if found else None


def _commits(revision: Revision, statements: Sequence[Statement]) -> Iterator[Finding]:
    """Return the first statement that is stored although a later one can fail."""
    if revision.family == COMMIT_EACH:
        yield from _half_way(revision)
        return
    if all(statement.transaction is not None for statement in statements):
        return
    last = statements[-1]
    for statement in statements[:-1]:
        with_last = statement.transaction is not None and statement.transaction == last.transaction
        if not (with_last or _is_repeatable(statement)):
            yield revision.finding_of("commits-half-way", statement)
            return


def _half_way(revision: Revision) -> Iterator[Finding]:
    """Return the first statement before one that can fail: at the rows or a lock of an older table."""
    statements, older = revision.upgrade.statements, set(revision.existing())
    can_fail = (number for number, each in enumerate(statements) if each in older and each.table)
    last = max(can_fail, default=0)
    for statement in statements[:last]:
        if not _is_repeatable(statement):
            yield revision.finding_of("commits-half-way", statement)
            return


def _is_repeatable(statement: Statement) -> bool:
    is_bounded = statement.written_table is not None and statement.matches(r"\bWHERE\b")
    return is_bounded or statement.matches(_REPEATABLE)


def check_updates(revision: Revision) -> Iterator[Finding]:
    """Return each UPDATE and DELETE that writes a whole table, or while all others are locked out."""
    locked: set[tuple[str, int | None]] = set()
    for statement in revision.existing():
        if revision.family == "postgresql" and statement.altered_table:
            locked.add((statement.altered_table, statement.transaction))
        table = statement.written_table
        if table is None:
            continue
        if statement.transaction is not None and (table, statement.transaction) in locked:
            yield revision.finding_of("update-under-lock", statement)
        elif not statement.matches(r"\bWHERE\b"):
            yield revision.finding_of("whole-table-update", statement)
