"""The planner's estimate of the number of rows of a statement."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Result, Select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from fastapi_asyncdb.dialects.backend import Estimate


class _Explain(Select[Any]):
    """A SELECT that is explained. It stays one for events and loader criteria, which change it."""

    inherit_cache = True


@compiles(_Explain)
def _explain(element: _Explain, compiler: SQLCompiler, **options: Any) -> str:
    visit: Any = compiler.visit_select
    return f"EXPLAIN (FORMAT JSON) {visit(element, **options)}"


def explain(statement: Select[Any]) -> Select[Any]:
    """Return the statement whose only row is the plan: https://www.postgresql.org/docs/current/sql-explain.html.

    Args:
        statement: A select of one column, since the plan is one column.
    """
    explained = _Explain.__new__(_Explain)
    explained.__dict__.update(statement.__dict__)
    return explained


def estimated_rows(result: Result[Any]) -> int:
    """Return the rows that the plan expects. asyncpg returns a text, psycopg a list."""
    plan = result.scalar_one()
    parsed = json.loads(plan) if isinstance(plan, str) else plan
    return int(parsed[0]["Plan"]["Plan Rows"])


ESTIMATE = Estimate(explain, estimated_rows)
