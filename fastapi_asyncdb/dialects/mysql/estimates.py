"""The optimizer's estimate of the number of rows of a statement."""

from __future__ import annotations

from math import prod
from typing import Any

from sqlalchemy import ColumnElement, Result, Select, literal_column
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from fastapi_asyncdb.dialects.backend import Estimate


class _Explain(Select[Any]):
    """A SELECT that is explained. It stays one for events and loader criteria, which change it."""

    inherit_cache = True


@compiles(_Explain)
def _explain(element: _Explain, compiler: SQLCompiler, **options: Any) -> str:
    visit: Any = compiler.visit_select
    # MySQL's plan says without it which part of the rows is left by WHERE.
    extended = " EXTENDED" if getattr(compiler.dialect, "is_mariadb", False) else ""
    return f"EXPLAIN{extended} {visit(element, **options)}"


# Columns of the plan, which SQLAlchemy finds by their names.
_COLUMNS: list[ColumnElement[Any]] = [
    literal_column("1").label(name) for name in ("id", "rows", "filtered")
]


def explain(statement: Select[Any]) -> Select[Any]:
    """Return the statement whose rows are the plan, one for each table.

    https://dev.mysql.com/doc/refman/8.4/en/explain-output.html
    """
    explained = _Explain.__new__(_Explain)
    explained.__dict__.update(statement.with_only_columns(*_COLUMNS).__dict__)
    return explained


def estimated_rows(plan: Result[Any]) -> int:
    """Return the rows that the plan expects: the product of what it expects of each table.

    Tables of subqueries have other numbers than the first. Where the optimizer knows that there are no
    rows, it names no number.
    """
    tables = [(row.rows, row.filtered) for row in plan if row.id == 1]
    if any(rows is None for rows, _ in tables):
        return 0
    return round(prod(float(rows) * float(filtered or 100) / 100 for rows, filtered in tables))


ESTIMATE = Estimate(explain, estimated_rows)
