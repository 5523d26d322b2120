"""``Statement``: one statement of a revision, and which tables its SQL names. Pure, without a parser.

The SQL is Alembic's or short and written by hand: patterns at the start of a statement are enough.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_NAME = r'((?:"[^"]+"|`[^`]+`|[\w$]+)(?:\.(?:"[^"]+"|`[^`]+`|[\w$]+))?)'
_IF = r"(?:IF (?:NOT )?EXISTS )?"
_ALTER = rf"ALTER TABLE {_IF}(?:ONLY )?{_NAME} "
_COMMENTS = re.compile(r"^\s*(?:--[^\n]*\n\s*|/\*.*?\*/\s*)+", re.DOTALL)
_NO_COLUMN = r"(?!(?:CONSTRAINT|PRIMARY|FOREIGN|UNIQUE|CHECK|EXCLUDE|INDEX|KEY|DEFAULT|NOT)\b)"
_ADD_COLUMN = re.compile(rf"\bADD (?:COLUMN )?{_IF}{_NO_COLUMN}{_NAME}", re.IGNORECASE)
_HAS_BODY = re.compile(r"\bCREATE\b.*\b(?:FUNCTION|PROCEDURE|TRIGGER)\b", re.IGNORECASE | re.DOTALL)
_RENAME_COLUMN = re.compile(rf"\bRENAME (?:COLUMN )?{_NAME} TO {_NAME}", re.IGNORECASE)
_DROP_COLUMN = re.compile(rf"\bDROP (?:COLUMN )?{_IF}{_NO_COLUMN}{_NAME}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a revision."""

    sql: str
    line: int | None
    """In the file of the revision."""
    transaction: int | None
    """Statements with the same number are one transaction; ``None`` is in autocommit."""

    @property
    def words(self) -> str:
        """The SQL without leading comments, in one line."""
        return " ".join(_COMMENTS.sub("", self.sql).split())

    def _named(self, pattern: str) -> str | None:
        found = re.match(pattern, self.words, re.IGNORECASE)
        return plain_name(found[1]) if found else None

    @property
    def created_table(self) -> str | None:
        """The table that it creates, or gives its name."""
        return self._named(rf"CREATE (?:\w+ )*?TABLE {_IF}{_NAME}")

    @property
    def altered_table(self) -> str | None:
        """The table that ``ALTER TABLE`` changes."""
        return self._named(_ALTER)

    @property
    def dropped_table(self) -> str | None:
        """The table that it drops."""
        return self._named(rf"DROP TABLE {_IF}{_NAME}")

    @property
    def written_table(self) -> str | None:
        """The table whose existing rows it changes or deletes."""
        return self._named(rf"(?:UPDATE|DELETE FROM) (?:ONLY )?{_NAME}")

    @property
    def table(self) -> str | None:
        """The existing table that it locks or changes."""
        index = rf"CREATE (?:UNIQUE )?INDEX (?:CONCURRENTLY )?{_IF}(?:\S+ )?ON (?:ONLY )?{_NAME}"
        return (
            self.altered_table
            or self.dropped_table
            or self.written_table
            or self._named(index)
            or self._named(rf"TRUNCATE (?:TABLE )?(?:ONLY )?{_NAME}")
        )

    def added_columns(self) -> Iterator[str]:
        """Return the columns that ``ALTER TABLE`` adds, or gives their name."""
        yield from self._columns(_ADD_COLUMN, 1)
        yield from self._columns(_RENAME_COLUMN, 2)

    def dropped_columns(self) -> Iterator[str]:
        """Return the columns that ``ALTER TABLE`` drops."""
        yield from self._columns(_DROP_COLUMN, 1)

    def _columns(self, pattern: re.Pattern[str], group: int) -> Iterator[str]:
        head = re.match(_ALTER, self.words, re.IGNORECASE)
        if head:
            for found in pattern.finditer(_without_texts(self.words[head.end() - 1 :])):
                yield plain_name(found[group])

    def matches(self, pattern: str) -> bool:
        """Return whether the SQL without its texts has the pattern, in any case."""
        return re.search(pattern, _without_texts(self.words), re.IGNORECASE) is not None


def plain_name(name: str) -> str:
    """Return a name without quotes, and without the schema ``public``."""
    return re.sub(r'["`]', "", name).removeprefix("public.")


def _without_texts(sql: str) -> str:
    return re.sub(r"'(?:[^']|'')*'", "''", sql)


def split(sql: str) -> list[str]:
    """Split a text at the semicolons between its statements; bodies of functions stay whole."""
    if "$" in sql or _HAS_BODY.search(sql):
        return [sql] if sql else []
    parts = re.findall(r"""(?:'[^']*'|"[^"]*"|--[^\n]*|/\*.*?\*/|[^;])+""", sql, re.DOTALL)
    return [part.strip() for part in parts if _COMMENTS.sub("", f"{part}\n").strip()]
