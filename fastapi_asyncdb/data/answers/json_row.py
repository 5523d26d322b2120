"""``JsonRow``: the JSON text of a row, as one column."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.selectable import FromClause
from sqlalchemy.sql.visitors import InternalTraversal
from sqlalchemy.types import TypeEngine


class JsonRow(ColumnElement[str]):
    """An expression that is always the same, so that SQLAlchemy's cache need not look into it.

    To look for the SQL of a statement costs as much as its tree is deep, in each request.

    Args:
        name: Of what the expression is made of: another expression has another name.
        expression: Returns the JSON text of a row.
        froms: What the row is selected from.
    """

    inherit_cache = True
    _traverse_internals = [("name", InternalTraversal.dp_string)]  # noqa: RUF012 - SQLAlchemy's
    type: TypeEngine[str] = Text()
    _from_objects: Any = ()

    def __init__(self, name: str, expression: ColumnElement[Any], froms: list[FromClause]) -> None:
        self.name = name
        self.json = expression
        self._from_objects = froms


@compiles(JsonRow)
def _compile(element: JsonRow, compiler: SQLCompiler, **options: Any) -> str:
    options.pop("add_to_result_map", None)
    return compiler.process(element.json, **options)
