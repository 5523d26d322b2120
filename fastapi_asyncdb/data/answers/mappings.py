"""Objects and rows as mappings, for the schemas that Pydantic does not read from attributes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel
from sqlalchemy import Row

from fastapi_asyncdb.data.answers.shape import Field, Shape


def reads_mappings(shape: Shape) -> bool:
    """Return whether a schema, or one in it, is a dataclass or a TypedDict."""
    inner = (field.value for field in shape.nested if isinstance(field.value, Shape))
    return not issubclass(shape.schema, BaseModel) or any(map(reads_mappings, inner))


def mapping_of(source: Any, shape: Shape) -> dict[str, Any]:
    """Return the attributes of an object, or the columns of a row, by the names that Pydantic reads."""
    found = ((field, _attribute(source, field)) for field in shape.fields)
    return {
        field.input_key: _value(getattr(source, name), field.value)
        for field, name in found
        if name is not None
    }


def values_of_rows(rows: Sequence[Any]) -> list[Any]:
    """Return the value of each row that has one column; others as they are."""
    return [row[0] if isinstance(row, Row) and len(row) == 1 else row for row in rows]


def _attribute(source: Any, field: Field) -> str | None:
    return next((name for name in field.attributes if hasattr(source, name)), None)


def _value(value: Any, inner: Any) -> Any:
    if value is None or not isinstance(inner, Shape):
        return value
    if isinstance(value, list):
        return [mapping_of(each, inner) for each in value]
    return mapping_of(value, inner)
