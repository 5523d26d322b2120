"""``Plan``: how the rows of a model become the JSON of a schema, decided once for both."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from typing import Any, Literal

from pydantic import TypeAdapter
from sqlalchemy import Column, ColumnElement, func, inspect
from sqlalchemy.orm import ColumnProperty, Mapper, RelationshipProperty, aliased
from sqlalchemy.orm import descriptor_props as composites
from sqlalchemy.orm.interfaces import LoaderOption

from fastapi_asyncdb.data.answers.attributes import (
    attribute_of,
    check_attributes,
    property_of,
)
from fastapi_asyncdb.data.answers.json_row import JsonRow
from fastapi_asyncdb.data.answers.loader_options import loader_options
from fastapi_asyncdb.data.answers.readable import is_read_otherwise
from fastapi_asyncdb.data.answers.relations import related_rows, restricted
from fastapi_asyncdb.data.answers.shape import Field, Leaf, Shape, shape_of, shapes_of
from fastapi_asyncdb.dialects.json import JsonFormat, Stored
from fastapi_asyncdb.models import UTCDateTime

Way = Literal["database", "rows", "objects"]
"""What makes the JSON: the database; Pydantic, of rows without objects; Pydantic, of mapped objects."""

Purpose = Literal["answer", "values", "objects", "repeat"]
"""What rows are for: JSON; values of the schema; either of them from mapped objects, since the statement
needs them, or since a row was unfit."""

logger = logging.getLogger(__name__)
_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Plan:
    """How rows of a model become JSON of a schema."""

    schema: Any
    way: Way
    reason: str
    """Why it is not a faster way; empty for the fastest."""
    adapter: TypeAdapter[Any]
    """Of a list of the schema."""
    model: type[Any] | None = None
    """The mapped class; ``None`` for rows of columns."""
    row: JsonRow | None = None
    """The JSON of a row."""
    columns: tuple[Any, ...] = ()
    """What is selected of a row that Pydantic validates."""
    names: tuple[str, ...] = ()
    """The names of the columns in what is validated."""
    options: tuple[LoaderOption, ...] = ()
    """Load what an object needs of its relationships."""
    read_as: Shape | None = None
    """What Pydantic reads objects and rows as; ``None`` if as they are."""
    has_fields: bool = True
    """Whether the schema has; otherwise a row of one column is its value."""

    def __str__(self) -> str:
        source = "" if self.model is None else f" from {self.model.__name__}"
        why = f", since {self.reason}" if self.reason else ""
        return f"{name_of(self.schema)}{source}: {_MAKERS[self.way]}{why}."


_MAKERS = {
    "database": "the database builds the JSON",
    "rows": "Pydantic validates rows without objects",
    "objects": "Pydantic validates mapped objects",
}


def name_of(schema: Any) -> str:
    """Return the name of a schema, as messages have it."""
    return schema.__name__ if isinstance(schema, type) else str(schema)


_REASONS = {
    "answer": "",
    "values": "",
    "objects": (
        "the statement has DISTINCT, GROUP BY, an alias or a loader option that decides what is "
        "related, is a text, or writes and answers relationships"
    ),
    "repeat": (
        "a row has a value that the database does not write as Pydantic does, or a join repeats rows "
        "of a page"
    ),
}


class _Unproved(Exception):
    """It is not proved that the database builds the same JSON as Pydantic; the text says why."""


@lru_cache(maxsize=1024)
def plan_of(
    schema: Any, model: type[Any] | None, json: JsonFormat | None, purpose: Purpose = "answer"
) -> Plan:
    """Return the plan.

    Args:
        schema: A Pydantic model, or another type that Pydantic validates.
        model: The mapped class; ``None`` for rows of columns.
        json: How the database builds JSON; ``None`` if it does not.
        purpose: What the rows are for.

    Raises:
        ConfigurationError: the model has no attribute for a field that is required; or a ``Related`` has
            an order or a limit, and Pydantic validates objects.
    """
    plan = _plan(schema, model, json, purpose)
    logger.debug("%s", plan)
    return plan


def _plan(schema: Any, model: type[Any] | None, json: JsonFormat | None, purpose: Purpose) -> Plan:
    adapter = adapter_of(schema)
    shape = shape_of(schema)
    if shape is None:
        return _without_fields(schema, model, f"{name_of(schema)} has no fields")
    read_as = shape if is_read_otherwise(shape) else None
    if model is None:
        return Plan(schema, "rows", "the statement selects columns", adapter, read_as=read_as)
    check_attributes(shape, model)
    columns = _columns(shape, model)
    reason = _REASONS[purpose]
    if purpose == "answer" or (purpose == "values" and not columns):
        try:
            row = _row(shape, model, json, by_attribute=purpose == "values")
            return Plan(schema, "database", "", adapter, model, row=row)
        except _Unproved as unproved:
            reason = str(unproved)
    if columns and purpose not in ("objects", "repeat"):
        names = tuple(str(attribute_of(field, model)) for field in shape.fields)
        return Plan(schema, "rows", reason, adapter, model, columns=columns, names=names)
    options = tuple(loader_options([shape], model, reason))
    return Plan(schema, "objects", reason, adapter, model, options=options, read_as=read_as)


def _without_fields(schema: Any, model: type[Any] | None, reason: str) -> Plan:
    adapter = adapter_of(schema)
    if model is None:
        return Plan(schema, "rows", reason, adapter, has_fields=False)
    shapes = shapes_of(schema)
    read_as = next(filter(is_read_otherwise, shapes), None)
    options = tuple(loader_options(shapes, model, reason))
    return Plan(
        *(schema, "objects", reason, adapter, model),
        options=options,
        read_as=read_as,
        has_fields=False,
    )


@lru_cache(maxsize=1024)
def adapter_of(schema: Any) -> TypeAdapter[Any]:
    """Return what validates and writes a list of a schema."""
    lists: Any = list
    return TypeAdapter(lists[schema])


def options_of(plan: Plan, entity: Any) -> Sequence[LoaderOption]:
    """Return what loads the relationships from the mapped class of a plan, or from an alias of it."""
    if not plan.options or isinstance(entity, type):
        return plan.options
    return loader_options(shapes_of(plan.schema), entity, plan.reason)


@lru_cache(maxsize=1024)
def has_relationships(schema: Any) -> bool:
    """Return whether a schema contains others."""
    shape = shape_of(schema)
    return shape is not None and any(shape.nested)


def _row(shape: Shape, model: type[Any], json: JsonFormat | None, *, by_attribute: bool) -> JsonRow:
    if json is None:
        raise _Unproved("the database does not build JSON as Pydantic does")
    expression = json.text(_Builder(json, by_attribute=by_attribute).object(shape, model))
    froms = [inspect(model).selectable]
    return JsonRow(f"answer_{next(_numbers)}", expression, froms, json)


class _Builder:
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
            raise _Unproved(f"{shape.name} has {shape.doubt}")
        if len(shape.fields) > self._json.max_fields:
            raise _Unproved(f"{shape.name} has more than {self._json.max_fields} fields")
        _check_class(inspect(entity).mapper)
        values = []
        for field in shape.fields:
            if field.doubt:
                raise _Unproved(f"{shape.name}.{field.name} has {field.doubt}")
            value = self._value(shape, field, entity)
            read = attribute_of(field, entity) if self._by_attribute else None
            values.append((read or field.key, value))
        try:
            return self._json.object(values)
        except ValueError as error:
            raise _Unproved(str(error)) from None

    def _value(self, shape: Shape, field: Field, entity: Any) -> ColumnElement[Any]:
        model: type[Any] = inspect(entity).mapper.class_
        found = property_of(field, model)
        if isinstance(found, ColumnProperty) and isinstance(field.value, Leaf):
            value = self._leaf(field.value, getattr(entity, found.key))
            if value is None:
                raise _Unproved(f"{shape.name}.{field.name} is {_described(field.value, found)}")
            column = found.columns[0]
            if field.nullable:
                return self._json.optional(value)
            if isinstance(column, Column) and not column.nullable:
                return value
            return self._json.required(value, getattr(entity, found.key))
        if isinstance(found, RelationshipProperty) and isinstance(field.value, Shape):
            return self._related(shape, field, found, entity)
        raise _Unproved(f"{model.__name__}.{attribute_of(field, model)} is read in Python")

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
            raise _Unproved(f"{shape.name}.{field.name} is not of the kind of the relationship")
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


def _check_class(mapper: Mapper[Any]) -> None:
    """Check that objects of a class are what their columns say."""
    name = mapper.class_.__name__
    if mapper.polymorphic_on is not None and list(mapper.self_and_descendants) != [mapper]:
        raise _Unproved(f"rows of {name} are objects of several classes")
    # A composite has one, too, and is read in Python.
    others = (listener.__module__ for listener in mapper.class_manager.dispatch.load)
    if any(module != composites.__name__ for module in others):
        raise _Unproved(f"{name} has a listener for loaded objects")


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


def _columns(shape: Shape, model: type[Any]) -> tuple[Any, ...]:
    """Return the columns of the fields; none if one is something else."""
    if shape.needs_object or any(field.by_path for field in shape.fields):
        return ()
    try:
        _check_class(inspect(model))
    except _Unproved:
        return ()
    found = [property_of(field, model) for field in shape.fields]
    if not all(isinstance(each, ColumnProperty) for each in found):
        return ()
    return tuple(getattr(model, each.key) for each in found)
