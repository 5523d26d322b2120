"""Comparison of server defaults: databases rewrite them, and store another text than the models have."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import Column

from fastapi_asyncdb.dialects.migrations import MigrationSupport

_LITERAL = re.compile(r"('(?:[^']|'')*')")
# What PostgreSQL adds to a literal: 'x'::character varying, '{}'::integer[], 1::numeric(10,2).
_CAST = re.compile(r"::[\w .\"]+(\(\d+(,\s*\d+)?\))?(\[\])*", re.ASCII)


def compare_defaults(context: Any, support: MigrationSupport | None) -> None:
    """Let a context of Alembic's see when two defaults of a column are the same.

    Alembic has an option for a function that compares them, and calls it with generated columns and
    identities too, for which it then fails.

    Args:
        context: Alembic's ``MigrationContext``.
        support: What the database does about migrations.
    """
    impl = context.impl
    compare = impl.compare_server_default

    def compare_server_default(
        inspected: Column[Any], column: Column[Any], wanted: str | None, stored: str | None
    ) -> bool:
        if wanted is not None and stored is not None and column.server_default is not None:
            wanted_sql = _written(context.dialect, column)
            if plain(stored) == plain(wanted_sql):
                return False
            if support is not None and support.same_default is not None:
                return not support.same_default(impl.connection, inspected.type, stored, wanted_sql)
        return bool(compare(inspected, column, wanted, stored))

    impl.compare_server_default = compare_server_default


def _written(dialect: Any, column: Column[Any]) -> str:
    """Return the default as CREATE TABLE has it."""
    text: str = dialect.ddl_compiler(dialect, None).get_column_default_string(column)
    # A driver whose parameters begin with % has it doubled.
    return text.replace("%%", "%") if "format" in dialect.paramstyle else text


def plain(default: str) -> str:
    """Return a default without what databases add: casts of literals, parentheses, capitals, spaces."""
    parts = _LITERAL.split(default)
    parts[::2] = [" ".join(_CAST.sub("", part).casefold().split()) for part in parts[::2]]
    text = "".join(parts)
    while (inner := _inside_of_parentheses(text)) is not None:
        text = inner
    return text


def _inside_of_parentheses(text: str) -> str | None:
    """Return what is inside of a pair of parentheses around all; ``None`` if there is no such pair."""
    if not (text.startswith("(") and text.endswith(")")):
        return None
    depth = 0
    for position, sign in enumerate(_LITERAL.sub(lambda found: "x" * len(found[0]), text)):
        depth += (sign == "(") - (sign == ")")
        if depth == 0 and position < len(text) - 1:
            return None
    return text[1:-1].strip()
