"""Objects and rows as mappings, for the schemas that Pydantic does not read from attributes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from sqlalchemy import Row, inspect
from sqlalchemy.orm import InstanceState

from fastapi_asyncdb.data.answers.attributes import attribute_of
from fastapi_asyncdb.data.answers.shape import Field, Shape


def reads_mappings(shape: Shape) -> bool:
    """Return whether a schema, or one in it, is a dataclass or a TypedDict."""
    inner = (each for field in shape.fields for each in field.shapes)
    return not issubclass(shape.schema, BaseModel) or any(map(reads_mappings, inner))


def readable(source: Any, shape: Shape) -> Any:
    """Return an object, or a row of columns, as Pydantic can read it, with all that is in it."""
    if issubclass(shape.schema, BaseModel):
        return _View(source, shape)
    found = ((field, attribute_of(field, source)) for field in shape.fields)
    return {name: _value(getattr(source, name), field) for field, name in found if name is not None}


class _View:
    """An object whose attributes are readable: a validator of a model gets an object, and no mapping."""

    def __init__(self, source: Any, shape: Shape) -> None:
        self._source = source
        self._fields = {name: field for field in shape.fields for name in field.attributes}

    def __getattr__(self, name: str) -> Any:
        value, field = getattr(self._source, name), self._fields.get(name)
        return value if field is None else _value(value, field)


def values_of_rows(rows: Sequence[Any]) -> list[Any]:
    """Return the value of each row that has one column; others as they are."""
    return [row[0] if isinstance(row, Row) and len(row) == 1 else row for row in rows]


def _value(value: Any, field: Field) -> Any:
    inner = next(filter(reads_mappings, field.shapes), None)
    return value if inner is None else _converted(value, inner)


def _converted(value: Any, shape: Shape) -> Any:
    """Return objects as mappings, and the values of JSON as they are."""
    if isinstance(value, Mapping):
        return {key: _converted(each, shape) for key, each in value.items()}
    if isinstance(value, list | set):
        return [_converted(each, shape) for each in value]
    is_object = isinstance(inspect(value, raiseerr=False), InstanceState)
    return readable(value, shape) if is_object else value
