"""Findings of squawk, as those of the rules here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fastapi_asyncdb.migrations.lint.finding import Finding
from fastapi_asyncdb.migrations.lint.revision import Revision
from fastapi_asyncdb.migrations.lint.rules import RULES
from fastapi_asyncdb.migrations.lint.squawk import Complaint

_IGNORED = {
    # Alembic's own transaction, or none: the checks of transactions know which.
    "ban-concurrent-index-creation-in-transaction",
    "ban-uncommitted-transaction",
    "prefer-robust-stmts",
    "transaction-nesting",
    # The settings of the connection that migrates.
    "require-lock-timeout",
    "require-statement-timeout",
    "require-timeout-settings",
    # A part of the safe way of NOT NULL.
    "ban-drop-constraint",
    # Style: nothing waits, nothing breaks.
    "ban-char-field",
    "prefer-bigint-over-int",
    "prefer-bigint-over-smallint",
    "prefer-identity",
    "prefer-repack",
    "prefer-text-field",
    "prefer-timestamp-tz",
    "require-enum-value-ordering",
    "require-table-schema",
}
_GENERAL = "constraint-missing-not-valid"
_SPECIAL = {
    "adding-foreign-key-constraint",
    "adding-serial-primary-key-field",
    "disallowed-unique-constraint",
}


def check_squawk(revision: Revision, complaints: Iterable[Complaint]) -> Iterator[Finding]:
    """Return a finding for each complaint that matters, and one for each statement and rule."""
    existing = set(revision.existing())
    seen = {(it.rule, it.statement): it for it in complaints if it.statement in existing}
    for (rule, statement), complaint in seen.items():
        special = any((name, statement) in seen for name in _SPECIAL)
        if rule in _IGNORED or (rule == _GENERAL and special):
            continue
        if rule in RULES:
            yield revision.finding_of(rule, statement)
        else:
            yield revision.unknown(rule, statement, complaint.message, complaint.help)
