"""Loader options: what a route loads of relationships for a schema."""

from __future__ import annotations

from typing import Any

from sqlalchemy import inspect
from sqlalchemy.orm import selectinload, undefer

from tests.data.answers.schemas import Schema

DEPTH = 4
"""Objects in each other, at most: a table has three rows."""


def loads(schema: Schema | None, entity: Any) -> list[Any]:
    """Return the options with which a route loads what a schema reads."""
    if schema is None:
        return []
    attributes = inspect(schema.model).attrs
    options: list[Any] = [
        undefer(getattr(entity, name))
        for name in schema.columns
        if getattr(attributes[name], "deferred", False)
    ]
    for name, child in schema.loads:
        attribute = getattr(entity, name)
        if name in schema.recursive:
            options.append(selectinload(attribute, recursion_depth=DEPTH))
        else:
            inner = loads(child, attribute.property.mapper.class_)
            options.append(selectinload(attribute).options(*inner))
    return options
