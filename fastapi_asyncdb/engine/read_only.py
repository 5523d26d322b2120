"""Whether a SQL text only reads. Pure: looks at the text and knows no session."""

from __future__ import annotations

import re
from functools import lru_cache

# What may hold any words: strings, quoted names, comments. PostgreSQL's E'' strings have escapes.
# https://www.postgresql.org/docs/current/sql-syntax-lexical.html
_OPAQUE = re.compile(
    r"""
      \b[eE]'(?:[^'\\]|\\.|'')*'
    | '(?:[^']|'')*'
    | "(?:[^"]|"")*"
    | `[^`]*`
    | (?<![\w$])\$(?P<tag>\w*)\$.*?\$(?P=tag)\$
    | (?P<comment>--[^\r\n]*|/\*.*?\*/)
    """,
    re.VERBOSE | re.DOTALL,
)
_FIRST_WORD = re.compile(r"[\s(]*(\w+)")
_READING_WORDS = frozenset({"select", "with", "values", "table", "show", "explain", "pragma"})
# A row lock is a write to the server, and in autocommit it would be gone with its statement.
_WRITING_CLAUSE = re.compile(
    r"""
      \binto\b
    | \bdelete\s+from\b
    | \bupdate\s+(?:only\s+)?[\w.]+\s+(?:(?:as\s+)?\w+\s+)?set\b
    | \bfor\s+(?:no\s+key\s+)?update\b
    | \bfor\s+(?:key\s+)?share\b
    | \A[\s(]*pragma\b[^=]*=
    """,
    re.VERBOSE | re.IGNORECASE,
)
_SAVEPOINT = re.compile(r"(?:SAVEPOINT|RELEASE SAVEPOINT|ROLLBACK TO SAVEPOINT) \w+")


@lru_cache(maxsize=1024)
def only_reads(sql: str) -> bool:
    """Tell whether every statement in the text is a query that changes and locks nothing.

    What a function does that is called in a query cannot be seen from here.
    """
    return all(_reads(statement) for statement in statements_in(sql))


@lru_cache(maxsize=1024)
def statements_in(sql: str) -> tuple[str, ...]:
    """Return the statements in the text; blanks stand for comments, x for strings and quoted names."""
    return tuple(_OPAQUE.sub(_blank, sql).split(";"))


def _blank(opaque: re.Match[str]) -> str:
    return " " if opaque["comment"] else " x "


def _reads(statement: str) -> bool:
    word = _FIRST_WORD.match(statement)
    if word is None:
        return not statement.strip()
    return word[1].lower() in _READING_WORDS and not _WRITING_CLAUSE.search(statement)


def is_savepoint(sql: str) -> bool:
    """Tell whether the text is what ``begin_nested()`` sends."""
    return _SAVEPOINT.fullmatch(sql) is not None
