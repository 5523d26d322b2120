"""Objects and rows as Pydantic can read them: as mappings, and with a part of what is related."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from sqlalchemy import Row, inspect
from sqlalchemy.orm import InstanceState

from fastapi_asyncdb.data.answers.attributes import attribute_of
from fastapi_asyncdb.data.answers.shape import Field, Shape

Parts = dict[tuple[int, int], Any]
"""Related rows, by the identities of a field and of an object."""


def is_read_otherwise(shape: Shape) -> bool:
    """Return whether Pydantic cannot read objects for a schema as they are."""
    return _reads_mappings(shape) or is_narrowed(shape)


def is_narrowed(shape: Shape) -> bool:
    """Return whether a schema, or one in it, has a part of the related rows."""
    return any(field.is_narrowed or any(map(is_narrowed, field.shapes)) for field in shape.fields)


def _reads_mappings(shape: Shape) -> bool:
    """Return whether a schema, or one in it, is a dataclass or a TypedDict."""
    inner = (each for field in shape.fields for each in field.shapes)
    return not issubclass(shape.schema, BaseModel) or any(map(_reads_mappings, inner))


def readable(source: Any, shape: Shape, parts: Parts) -> Any:
    """Return an object, or a row of columns, as Pydantic can read it, with all that is in it."""
    view = _View(source, shape, parts)
    if issubclass(shape.schema, BaseModel):
        return view
    found = (attribute_of(field, view) for field in shape.fields)
    return {name: getattr(view, name) for name in found if name is not None}


class _View:
    """An object whose attributes are readable: a validator of a model gets an object, and no mapping."""

    def __init__(self, source: Any, shape: Shape, parts: Parts) -> None:
        self._source, self._shape, self._parts = source, shape, parts

    def __getattr__(self, name: str) -> Any:
        fields = [field for field in self._shape.fields if name in field.attributes]
        for field in fields:
            part = self._parts.get((id(field), id(self._source)), self)
            if part is not self:
                return self._inside(part, field)
        value = getattr(self._source, name)
        return self._inside(value, fields[0]) if fields else value

    def _inside(self, value: Any, field: Field) -> Any:
        shapes = (self._shape,) if field.recursive else field.shapes
        inner = next(filter(is_read_otherwise, shapes), None)
        return value if inner is None else _converted(value, inner, self._parts)


def values_of_rows(rows: Sequence[Any]) -> list[Any]:
    """Return the value of each row that has one column; others as they are."""
    return [row[0] if isinstance(row, Row) and len(row) == 1 else row for row in rows]


def objects_in(value: Any) -> Iterator[Any]:
    """Yield the objects of a relationship: a collection, one, or none."""
    if isinstance(value, Mapping):
        yield from value.values()
    elif isinstance(value, list | set):
        yield from value
    elif value is not None:
        yield value


def _converted(value: Any, shape: Shape, parts: Parts) -> Any:
    """Return objects as they are readable, and the values of JSON as they are."""
    if isinstance(value, Mapping):
        return {key: _converted(each, shape, parts) for key, each in value.items()}
    if isinstance(value, list | set):
        return [_converted(each, shape, parts) for each in value]
    is_object = isinstance(inspect(value, raiseerr=False), InstanceState)
    return readable(value, shape, parts) if is_object else value
