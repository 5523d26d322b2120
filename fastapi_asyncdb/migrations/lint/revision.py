"""``Revision``: what is known of one revision, and the findings that checks make of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from alembic.config import Config
from alembic.script import Script, ScriptDirectory

from fastapi_asyncdb.dialects.registry import family_of
from fastapi_asyncdb.migrations.lint.finding import Finding, Level
from fastapi_asyncdb.migrations.lint.rendering import Rendered, render
from fastapi_asyncdb.migrations.lint.rules import RULES
from fastapi_asyncdb.migrations.lint.source import Source
from fastapi_asyncdb.migrations.lint.statements import Statement

COMMIT_EACH = "mysql"
"""The family of databases that commit each change of the schema by itself."""


@dataclass(frozen=True, slots=True)
class Revision:
    """One revision: its source, and the SQL of both directions."""

    id: str
    source: Source
    upgrade: Rendered
    downgrade: Rendered
    family: str
    """The database whose SQL it has, such as ``mysql`` for MariaDB."""
    created: frozenset[str]
    """The tables that the upgrade creates: no other transaction sees them, so that no lock hurts."""

    @classmethod
    def of(cls, config: Config, scripts: ScriptDirectory, script: Script, dialect: str) -> Revision:
        """Read and render a revision."""
        upgrade = render(config, scripts, script, dialect)
        downgrade = render(config, scripts, script, dialect, downgrade=True)
        created = frozenset(it.created_table for it in upgrade.statements if it.created_table)
        return cls(
            script.revision,
            Source(Path(script.path)),
            upgrade,
            downgrade,
            family_of(dialect),
            created,
        )

    def existing(self) -> Iterator[Statement]:
        """Return the statements of the upgrade that do not work on a table of its own."""
        return (it for it in self.upgrade.statements if it.table not in self.created)

    def line_of(self, function: str) -> int | None:
        """Return the line of a function."""
        found = self.source.function(function)
        return found.lineno if found is not None else None

    def finding(self, rule: str, line: int | None, detail: str = "") -> Finding:
        """Make a finding that is not about a statement of SQL.

        Args:
            rule: The name.
            line: In the file.
            detail: What is known beside the text of the rule.
        """
        blocks, safe_way = RULES[rule].about(None)
        words = f"{blocks} {detail}".strip()
        return self._made(rule, RULES[rule].level, line, None, words, safe_way)

    def finding_of(self, rule: str, statement: Statement) -> Finding:
        """Make a finding about a statement."""
        blocks, safe_way = RULES[rule].about(statement.table)
        return self._made(
            rule, RULES[rule].level, statement.line, statement.words, blocks, safe_way
        )

    def unknown(self, rule: str, statement: Statement, message: str, advice: str | None) -> Finding:
        """Make a finding of a rule that only squawk knows."""
        return self._made(
            rule, "warning", statement.line, statement.words, message, advice or _page(rule)
        )

    def _made(
        self, rule: str, level: Level, line: int | None, sql: str | None, blocks: str, safe_way: str
    ) -> Finding:
        return Finding(rule, level, self.id, self.source.path, line, sql, blocks, safe_way)


def _page(rule: str) -> str:
    return f"https://squawkhq.com/docs/{rule}"
