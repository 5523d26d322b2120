"""``JsonRow``: the JSON text of a row, as one column; ``JoinedRows``: that of all rows, as one row.

``JsonRows`` is either of them for a statement, made when SQLAlchemy compiles it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import ClauseElement, ColumnElement, Executable, Select, Text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.selectable import FromClause
from sqlalchemy.sql.visitors import InternalTraversal
from sqlalchemy.types import TypeEngine

from fastapi_asyncdb.data.answers.criteria import for_aliases
from fastapi_asyncdb.dialects.json import JsonFormat

_ITEM = "item"


class JsonRow(ColumnElement[str]):
    """An expression that is always the same, so that SQLAlchemy's cache need not look into it.

    To look for the SQL of a statement costs as much as its tree is deep, in each request.

    Args:
        name: Of what the expression is made of: another expression has another name.
        expression: Returns the JSON text of a row.
        froms: What the row is selected from.
        format: How the database writes JSON.
    """

    inherit_cache = True
    _traverse_internals = [("name", InternalTraversal.dp_string)]  # noqa: RUF012 - SQLAlchemy's
    type: TypeEngine[str] = Text()
    _from_objects: Any = ()

    def __init__(
        self,
        name: str,
        expression: ColumnElement[Any],
        froms: list[FromClause],
        format: JsonFormat,  # noqa: A002 - the word for it
    ) -> None:
        self.name = name
        self.json = expression
        self.format = format
        self._from_objects = froms
        self.item = self.label(_ITEM)
        """The same, by the name that ``joined`` needs."""


@compiles(JsonRow)
def _compile_row(element: JsonRow, compiler: SQLCompiler, **options: Any) -> str:
    options.pop("add_to_result_map", None)
    with for_aliases(compiler):
        return compiler.process(element.json, **options)


class JoinedRows(Select[Any]):
    """A select of a ``JsonRow`` whose rows the database joins to one text: each row costs the driver.

    For the session and its listeners it is a select like others: they may add options and conditions.
    """

    inherit_cache = True
    _joining: str


def joined(rows: Select[Any], row: JsonRow) -> Select[Any]:
    """Change a select of the ``item`` of a row to one that joins its rows by commas; return it."""
    rows.__class__ = JoinedRows
    rows._joining = row.format.joining  # type: ignore[attr-defined]
    return rows


@compiles(JoinedRows)
def _compile_joined(element: JoinedRows, compiler: SQLCompiler, **options: Any) -> str:
    rows: str = compiler.visit_select(element, **options)  # type: ignore[no-untyped-call]
    if not rows.startswith("SELECT"):
        return rows  # WITH may have statements that write, and which no subquery may have
    text = f"coalesce({element._joining}({_ITEM}, ','), '')"
    return f"SELECT {text} AS {_ITEM} FROM ({rows}) AS answers"  # noqa: S608 - names of its own


class JsonRows(Executable, ClauseElement):
    """What reads the rows of a statement as JSON: made once for all that differ in their values alone.

    For a session it is a statement without a mapped class, of which there are no objects to make.

    Args:
        statement: A select of a mapped class.
        name: Of what is read of it.
        select: Returns what selects that. By the same statement and name it is always the same, since
            the SQL is found by those.
    """

    inherit_cache = True
    _traverse_internals = [  # noqa: RUF012 - SQLAlchemy's
        ("statement", InternalTraversal.dp_clauseelement),
        ("name", InternalTraversal.dp_string),
    ]

    def __init__(
        self, statement: Select[Any], name: str, select: Callable[[], Select[Any]]
    ) -> None:
        self.statement = statement
        self.name = name
        self.select = select

    @property
    def _all_selected_columns(self) -> tuple[()]:
        return ()  # SQLAlchemy would find columns of a row by them; rows are read by place


@compiles(JsonRows)
def _compile_rows(element: JsonRows, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(element.select(), **options)
