"""``JsonBuilder``: the JSON of a schema as an expression over the columns of a mapped class."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, ColumnElement, func, inspect
from sqlalchemy.orm import ColumnProperty, Mapper, RelationshipProperty, aliased
from sqlalchemy.orm import descriptor_props as composites

from fastapi_asyncdb.data.answers.attributes import attribute_of, property_of
from fastapi_asyncdb.data.answers.relations import related_rows, restricted
from fastapi_asyncdb.data.answers.shape import Field, Leaf, Shape
from fastapi_asyncdb.dialects.json import JsonFormat, Stored
from fastapi_asyncdb.models import UTCDateTime


class Unproved(Exception):
    """It is not proved that the database builds the same JSON as Pydantic; the text says why."""


class JsonBuilder:
    """Builds the JSON of a shape.

    Args:
        json: The functions of the database.
        by_attribute: Whether the names are those that Pydantic reads, instead of those that it writes.
    """

    def __init__(self, json: JsonFormat, *, by_attribute: bool) -> None:
        self._json = json
        self._by_attribute = by_attribute

    def object(self, shape: Shape, entity: Any) -> ColumnElement[Any]:
        """Return the JSON of the row that an entity stands for."""
        if shape.doubt:
            raise Unproved(f"{shape.name} has {shape.doubt}")
        if len(shape.fields) > self._json.max_fields:
            raise Unproved(f"{shape.name} has more than {self._json.max_fields} fields")
        check_class(inspect(entity).mapper)
        values = []
        for field in shape.fields:
            if field.doubt:
                raise Unproved(f"{shape.name}.{field.name} has {field.doubt}")
            value = self._value(shape, field, entity)
            read = attribute_of(field, entity) if self._by_attribute else None
            values.append((read or field.key, value))
        try:
            return self._json.object(values)
        except ValueError as error:
            raise Unproved(str(error)) from None

    def _value(self, shape: Shape, field: Field, entity: Any) -> ColumnElement[Any]:
        model: type[Any] = inspect(entity).mapper.class_
        found = property_of(field, model)
        if isinstance(found, ColumnProperty) and isinstance(field.value, Leaf):
            value = self._leaf(field.value, getattr(entity, found.key))
            if value is None:
                raise Unproved(f"{shape.name}.{field.name} is {_described(field.value, found)}")
            column = found.columns[0]
            if field.nullable:
                return self._json.optional(value)
            if isinstance(column, Column) and not column.nullable:
                return value
            return self._json.required(value, getattr(entity, found.key))
        if isinstance(found, RelationshipProperty) and isinstance(field.value, Shape):
            return self._related(shape, field, found, entity)
        raise Unproved(f"{model.__name__}.{attribute_of(field, model)} is read in Python")

    def _leaf(self, leaf: Leaf, attribute: Any) -> ColumnElement[Any] | None:
        stored = _stored(attribute, self._json.type_of(attribute.type))
        try:
            if leaf.cls is not None:
                return self._json.member(leaf.cls, stored)
            return self._json.leaf(leaf.kind, stored)
        except ValueError:
            return None

    def _related(
        self, shape: Shape, field: Field, found: RelationshipProperty[Any], entity: Any
    ) -> ColumnElement[Any]:
        if found.collection_class not in (None, list) or found.uselist != field.many:
            raise Unproved(f"{shape.name}.{field.name} is not of the kind of the relationship")
        if found.entity is not found.mapper:
            raise Unproved(f"{shape.name}.{field.name} is a relationship to an alias")
        target = aliased(found.mapper.class_)
        item = self.object(field.value, target)  # type: ignore[arg-type]
        rows = related_rows(entity, found, target, item)
        rows = restricted(rows, field.related, target)
        if field.many:
            return self._json.array(rows)
        value = self._json.nested(rows)
        if field.nullable:
            return self._json.optional(value)
        return func.coalesce(value, self._json.unfit)


def check_class(mapper: Mapper[Any]) -> None:
    """Check that objects of a class are what their columns say."""
    name = mapper.class_.__name__
    if mapper.polymorphic_on is not None and list(mapper.self_and_descendants) != [mapper]:
        raise Unproved(f"rows of {name} are objects of several classes")
    # A composite has one, too, and is read in Python.
    others = (listener.__module__ for listener in mapper.class_manager.dispatch.load)
    if any(module != composites.__name__ for module in others):
        raise Unproved(f"{name} has a listener for loaded objects")


def _stored(attribute: Any, kind: Any) -> Stored:
    name = f"{type(kind).__module__}.{type(kind).__name__}"
    utc = isinstance(kind, UTCDateTime) or name == "sqlmodel.sql.sqltypes.UTCDateTime"
    is_plain = utc or name == "sqlmodel.sql.sqltypes.AutoString"
    return Stored(attribute, kind.impl_instance if is_plain else kind, utc)


def _described(leaf: Leaf, found: ColumnProperty[Any]) -> str:
    kind = leaf.cls.__name__ if leaf.cls else leaf.kind
    return (
        f"{kind}, which the database does not write as Pydantic does from {found.columns[0].type!r}"
    )
