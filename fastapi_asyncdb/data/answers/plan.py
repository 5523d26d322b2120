"""``Plan``: how the rows of a model become the JSON of a schema, decided once for both."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from typing import Any, Literal, get_args, get_origin

from pydantic import TypeAdapter
from pydantic.errors import PydanticSchemaGenerationError
from sqlalchemy import inspect
from sqlalchemy.orm import ColumnProperty, Mapper
from sqlalchemy.orm.interfaces import LoaderOption

from fastapi_asyncdb.data.answers.attributes import (
    attribute_of,
    check_attributes,
    property_of,
)
from fastapi_asyncdb.data.answers.json_builder import JsonBuilder, Unproved, check_class
from fastapi_asyncdb.data.answers.json_row import JsonRow
from fastapi_asyncdb.data.answers.loader_options import loader_options
from fastapi_asyncdb.data.answers.readable import is_read_otherwise
from fastapi_asyncdb.data.answers.shape import Shape
from fastapi_asyncdb.data.answers.shape_reader import shape_of, shapes_of
from fastapi_asyncdb.dialects.json import JsonFormat
from fastapi_asyncdb.errors import ConfigurationError

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
        ConfigurationError: the schema is a mapped class, or a collection; the model has no attribute for
            a field that is required; or two fields read the same relationship, one has a ``Related``,
            and Pydantic validates objects.
    """
    plan = _plan(schema, model, json, purpose)
    logger.debug("%s", plan)
    return plan


def _plan(schema: Any, model: type[Any] | None, json: JsonFormat | None, purpose: Purpose) -> Plan:
    adapter = _checked_adapter(schema, model)
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
        except Unproved as unproved:
            reason = str(unproved)
    if columns and purpose not in ("objects", "repeat"):
        names = tuple(str(attribute_of(field, model)) for field in shape.fields)
        return Plan(schema, "rows", reason, adapter, model, columns=columns, names=names)
    options = tuple(loader_options([shape], model))
    return Plan(schema, "objects", reason, adapter, model, options=options, read_as=read_as)


def _checked_adapter(schema: Any, model: type[Any] | None) -> TypeAdapter[Any]:
    """Return what validates a list of a schema, unless an object of the model cannot be one."""
    origin, name = get_origin(schema), name_of(schema)
    if model is not None and origin in _COLLECTIONS:
        items = ", ".join(map(name_of, get_args(schema)[:1]))
        raise ConfigurationError(
            f"{name} is not the schema of one {model.__name__}. For all rows pass list[{items}], with "
            "nothing around it."
        )
    try:
        return adapter_of(schema)
    except PydanticSchemaGenerationError:
        if not isinstance(inspect(schema, raiseerr=False), Mapper):
            raise
        raise ConfigurationError(
            f"{name} is a mapped class, of which Pydantic knows no fields. Declare what the client "
            "gets: a Pydantic model, a dataclass or a TypedDict."
        ) from None


_COLLECTIONS = (list, set, frozenset, tuple, Sequence, Set, Collection, Iterable)


def _without_fields(schema: Any, model: type[Any] | None, reason: str) -> Plan:
    adapter = adapter_of(schema)
    if model is None:
        return Plan(schema, "rows", reason, adapter, has_fields=False)
    shapes = shapes_of(schema)
    read_as = next(filter(is_read_otherwise, shapes), None)
    options = tuple(loader_options(shapes, model))
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
    return loader_options(shapes_of(plan.schema), entity)


@lru_cache(maxsize=1024)
def has_relationships(schema: Any) -> bool:
    """Return whether a schema contains others."""
    shape = shape_of(schema)
    return shape is not None and any(shape.nested)


def _row(shape: Shape, model: type[Any], json: JsonFormat | None, *, by_attribute: bool) -> JsonRow:
    if json is None:
        raise Unproved("the database does not build JSON as Pydantic does")
    expression = json.text(JsonBuilder(json, by_attribute=by_attribute).object(shape, model))
    froms = [inspect(model).selectable]
    return JsonRow(f"answer_{next(_numbers)}", expression, froms, json)


def _columns(shape: Shape, model: type[Any]) -> tuple[Any, ...]:
    """Return the columns of the fields; none if one is something else."""
    if shape.needs_object or any(field.by_path for field in shape.fields):
        return ()
    try:
        check_class(inspect(model))
    except Unproved:
        return ()
    found = [property_of(field, model) for field in shape.fields]
    if not all(isinstance(each, ColumnProperty) for each in found):
        return ()
    return tuple(getattr(model, each.key) for each in found)
