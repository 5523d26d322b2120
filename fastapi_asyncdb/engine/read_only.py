"""Statements that only read, by their SQL text; all others are refused in reading sessions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from fastapi_asyncdb.dialects.autocommit import SAVEPOINTS
from fastapi_asyncdb.errors import ReadOnlySession

# Text with any words in it: strings, quoted names, comments. PostgreSQL's E'' strings have escapes.
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
_READING_WORDS = frozenset(
    {"select", "with", "values", "table", "show", "explain", "describe", "desc", "pragma"}
)
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
    """Return whether every statement in the text is a query that changes and locks nothing.

    A function that writes when it is called in a query is not detected.
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
    """Return whether the text is what ``begin_nested()`` sends."""
    return _SAVEPOINT.fullmatch(sql) is not None


def refuse_write(statement: str, options: Mapping[str, Any]) -> None:
    """Refuse a statement that writes, for a connection that only reads.

    Args:
        statement: Its text.
        options: The execution options of the statement and its connection.

    Raises:
        ReadOnlySession: it writes, and is no savepoint of a reading transaction.
    """
    if only_reads(statement) or (options.get(SAVEPOINTS) and is_savepoint(statement)):
        return
    words = " ".join(statement.split()[:3])
    raise ReadOnlySession(
        f"A reading session was asked to write: {words} ... Use DB instead of ReadDB or "
        "SnapshotDB, or database.session() instead of read_session()."
    )
