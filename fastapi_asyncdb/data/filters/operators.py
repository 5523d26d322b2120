"""The operators of filters: their names, their SQL, and the types of columns that have them."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement
from sqlalchemy.orm import QueryableAttribute
from sqlalchemy.types import Boolean, Enum, String, TypeDecorator, TypeEngine, Uuid

Operator = Literal[
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "in",
    "not_in",
    "is_null",
    "contains",
    "icontains",
    "startswith",
    "istartswith",
    "endswith",
    "iendswith",
]
"""The name of an operator, as SQLAlchemy has it. Those that begin with ``i`` ignore the case."""

Compare = Callable[[QueryableAttribute[Any], Any], ColumnElement[bool]]


def _text(name: str) -> Compare:
    """Return a LIKE whose pattern takes each character of the value literally."""

    def compare(column: QueryableAttribute[Any], value: Any) -> ColumnElement[bool]:
        condition: ColumnElement[bool] = getattr(column, name)(value, autoescape=True)
        return condition

    return compare


def _is_null(column: QueryableAttribute[Any], value: Any) -> ColumnElement[bool]:
    return column.is_(None) if value else column.is_not(None)


@dataclass(frozen=True, slots=True)
class Comparison:
    """An operator.

    Attributes:
        compare: Makes the condition.
        words: What it says of a column, for OpenAPI.
        value: What a client sends: a value of the column, several of them, or whether it is NULL.
        columns: Which columns have it: all, those with an order, or those of text.
    """

    compare: Compare
    words: str
    value: Literal["one", "several", "whether"] = "one"
    columns: Literal["all", "ordered", "text"] = "all"

    def fits(self, kind: TypeEngine[Any]) -> bool:
        """Return whether columns of the type have the operator."""
        if isinstance(kind, TypeDecorator):
            kind = kind.impl_instance
        if self.columns == "text":
            return isinstance(kind, String) and not isinstance(kind, Enum)
        return self.columns == "all" or not isinstance(kind, Boolean | Enum | Uuid)


OPERATORS: dict[str, Comparison] = {
    "eq": Comparison(operator.eq, "equals the value"),
    "ne": Comparison(operator.ne, "differs from the value, and is not null"),
    "lt": Comparison(operator.lt, "is less than the value", columns="ordered"),
    "le": Comparison(operator.le, "is at most the value", columns="ordered"),
    "gt": Comparison(operator.gt, "is greater than the value", columns="ordered"),
    "ge": Comparison(operator.ge, "is at least the value", columns="ordered"),
    "in": Comparison(lambda column, values: column.in_(values), "is one of the values", "several"),
    "not_in": Comparison(
        lambda column, values: column.not_in(values),
        "is none of the values, and not null",
        "several",
    ),
    "is_null": Comparison(_is_null, "is null, or is not if the value is false", "whether"),
    "contains": Comparison(_text("contains"), "contains the text", columns="text"),
    "icontains": Comparison(_text("icontains"), "contains the text, in any case", columns="text"),
    "startswith": Comparison(_text("startswith"), "begins with the text", columns="text"),
    "istartswith": Comparison(
        _text("istartswith"), "begins with the text, in any case", columns="text"
    ),
    "endswith": Comparison(_text("endswith"), "ends with the text", columns="text"),
    "iendswith": Comparison(_text("iendswith"), "ends with the text, in any case", columns="text"),
}
