"""Relationships that a schema narrows: no object may keep a part as if it were the whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy.orm import RelationshipProperty, object_session
from sqlalchemy.orm.collections import collection_adapter

from fastapi_asyncdb.data.answers.attributes import property_of
from fastapi_asyncdb.data.answers.shape import Shape, shapes_of


@dataclass(frozen=True, slots=True)
class Narrowed:
    """A relationship that has conditions, or leads to one that has."""

    name: str
    many: bool
    has_conditions: bool
    below: tuple[Narrowed, ...] = ()


@lru_cache(maxsize=1024)
def narrowed_of(schema: Any, model: type[Any]) -> tuple[Narrowed, ...]:
    """Return the relationships of a class that a schema narrows."""
    return tuple(_narrowed(shapes_of(schema), model))


def _narrowed(shapes: Iterable[Shape], model: type[Any]) -> Iterator[Narrowed]:
    for field in (field for shape in shapes for field in shape.fields):
        found = property_of(field, model)
        if not isinstance(found, RelationshipProperty):
            continue
        below = tuple(_narrowed(field.shapes, found.mapper.class_))
        here = field.related is not None and field.related.where is not None
        if here or below:
            yield Narrowed(found.key, bool(found.uselist), here, below)


def forget(objects: Iterable[Any], narrowed: Sequence[Narrowed]) -> None:
    """Unload what was narrowed, so that the next access loads the whole of it."""
    if not narrowed:
        return
    for each in objects:
        for relationship in narrowed:
            related = each.__dict__.get(relationship.name)
            if related is not None and relationship.below:
                many = collection_adapter(related) if relationship.many else [related]
                forget(list(many), relationship.below)
            session = object_session(each)
            if relationship.has_conditions and session is not None:
                session.expire(each, [relationship.name])
