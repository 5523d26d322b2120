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


class Views:
    """Makes objects, and rows of columns, readable for Pydantic, with all that is in them.

    Each object becomes the same for the same schema, so that Pydantic sees where there is a circle.

    Args:
        parts: What objects have of related rows, instead of all.
    """

    def __init__(self, parts: Parts | None = None) -> None:
        self.parts = parts or {}
        self._made: dict[tuple[int, int], tuple[Any, Any]] = {}

    def of(self, source: Any, shape: Shape) -> Any:
        """Return an object as it is read for a schema: as a mapping, if it reads mappings."""
        key = id(source), id(shape)
        if key not in self._made:
            view = _View(self, source, shape)
            is_model = issubclass(shape.schema, BaseModel)
            # With the source, whose id no other object may have meanwhile.
            self._made[key] = view if is_model else {}, source
            if not is_model:
                found = (attribute_of(field, view) for field in shape.fields)
                self._made[key][0].update({name: getattr(view, name) for name in found if name})
        return self._made[key][0]

    def converted(self, value: Any, shape: Shape) -> Any:
        """Return the objects in a value as they are read, and the values of JSON as they are."""
        if isinstance(value, Mapping):
            return {key: self.converted(each, shape) for key, each in value.items()}
        if isinstance(value, list | set):
            return [self.converted(each, shape) for each in value]
        is_object = isinstance(inspect(value, raiseerr=False), InstanceState)
        return self.of(value, shape) if is_object else value


class _View:
    """An object whose attributes are readable: a validator of a model gets an object, and no mapping."""

    def __init__(self, views: Views, source: Any, shape: Shape) -> None:
        self._views, self._source, self._shape = views, source, shape

    def __getattr__(self, name: str) -> Any:
        fields = [field for field in self._shape.fields if name in field.attributes]
        for field in fields:
            part = self._views.parts.get((id(field), id(self._source)), self)
            if part is not self:
                return self._inside(part, field)
        value = getattr(self._source, name)
        return self._inside(value, fields[0]) if fields else value

    def _inside(self, value: Any, field: Field) -> Any:
        shapes = (self._shape,) if field.recursive else field.shapes
        inner = next(filter(is_read_otherwise, shapes), None)
        return value if inner is None else self._views.converted(value, inner)


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
