"""Checks of what MySQL and MariaDB do by a copy of the table, unless the statement forbids it."""

from __future__ import annotations

from collections.abc import Iterator

from fastapi_asyncdb.migrations.lint.finding import Finding
from fastapi_asyncdb.migrations.lint.revision import Revision
from fastapi_asyncdb.migrations.lint.statements import Statement

# What is an error with LOCK=NONE, always or for some types.
_COPIES = (
    r"\b(MODIFY|CHANGE)\b|\bCONVERT TO CHARACTER SET\b|\bDROP PRIMARY KEY\b(?!.*\bADD PRIMARY KEY\b)"
    r"|\bADD (FULLTEXT|SPATIAL)\b|\b(STORED|PERSISTENT)\b|\bADD (CONSTRAINT \S+ )?CHECK\b"
)
_FORBIDDEN = r"\bLOCK ?=? ?NONE\b|\bALGORITHM ?=? ?(INPLACE|NOCOPY|INSTANT)\b"


def check_copies(revision: Revision) -> Iterator[Finding]:
    """Return the statements that may copy a table that was there before."""
    for statement in revision.existing():
        rule = _rule(statement)
        if rule is not None and not statement.matches(_FORBIDDEN):
            yield revision.finding_of(rule, statement)


def _rule(statement: Statement) -> str | None:
    if statement.altered_table is None:
        return None
    if statement.matches(r"\bADD (CONSTRAINT \S+ )?FOREIGN KEY\b"):
        return "foreign-key-copies-table"
    return "alter-may-copy-table" if statement.matches(_COPIES) else None
