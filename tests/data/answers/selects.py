"""Statements that select objects of a mapped class, each in its way; and their rows in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Select, inspect, select
from sqlalchemy.orm import aliased, joinedload, selectinload, with_loader_criteria

from tests.data.answers.museum import models

Form = Callable[[type[Any], str | None], Select[Any]]
"""Gets a mapped class, and one of its relationships if it has any."""


def everything(model: type[Any], relationship: str | None) -> Select[Any]:
    """Select all."""
    return select(model)


def by_condition(model: type[Any], relationship: str | None) -> Select[Any]:
    """Select what a parameter says."""
    return select(model).where(key(model) > 1)


def a_part(model: type[Any], relationship: str | None) -> Select[Any]:
    """Select with LIMIT and OFFSET."""
    return select(model).limit(2).offset(1)


def joined(model: type[Any], relationship: str | None) -> Select[Any]:
    """Join a relationship, which may repeat objects."""
    return select(model).join(getattr(model, relationship)) if relationship else select(model)


def outer_joined(model: type[Any], relationship: str | None) -> Select[Any]:
    """Join a relationship where there is a row."""
    return select(model).outerjoin(getattr(model, relationship)) if relationship else select(model)


def by_relationship(model: type[Any], relationship: str | None) -> Select[Any]:
    """Select by a subquery."""
    if relationship is None:
        return select(model)
    attribute = getattr(model, relationship)
    many = inspect(model).relationships[relationship].uselist
    return select(model).where(attribute.any() if many else attribute.has())


def distinct(model: type[Any], relationship: str | None) -> Select[Any]:
    """Select each once. PostgreSQL cannot compare documents."""
    return select(model) if model is models.Exhibit else select(model).distinct()


def of_alias(model: type[Any], relationship: str | None) -> Select[Any]:
    """Select an alias."""
    return select(aliased(model))


def of_subquery(model: type[Any], relationship: str | None) -> Select[Any]:
    """Select an alias of a subquery."""
    return select(aliased(model, select(model).where(key(model) > 1).subquery()))


def with_option(model: type[Any], relationship: str | None) -> Select[Any]:
    """Select with a loader option of its own."""
    if relationship is None:
        return select(model)
    return select(model).options(selectinload(getattr(model, relationship)))


def with_joined_option(model: type[Any], relationship: str | None) -> Select[Any]:
    """Select with related objects in the same rows."""
    if relationship is None:
        return select(model)
    return select(model).options(joinedload(getattr(model, relationship)))


def with_criteria(model: type[Any], relationship: str | None) -> Select[Any]:
    """Select with criteria for all tags and rooms, wherever they are."""
    criteria = (with_loader_criteria(each, each.id < 3) for each in (models.Tag, models.Room))
    return select(model).options(*criteria)


def with_deleted(model: type[Any], relationship: str | None) -> Select[Any]:
    """Select what is marked as deleted, too."""
    return select(model).execution_options(include_deleted=True)


FORMS: list[Form] = [
    *[everything] * 6, by_condition, a_part, joined, outer_joined, by_relationship, distinct, of_alias,
    of_subquery, with_option, with_joined_option, with_criteria, with_deleted,
]  # fmt: skip


def key(entity: Any) -> Any:
    """Return the attribute of the first column of the primary key."""
    mapper = inspect(entity).mapper
    return getattr(entity, mapper.get_property_by_column(mapper.primary_key[0]).key)


def ordered(statement: Select[Any], entity: Any) -> Select[Any]:
    """Return a statement in the order of the primary key."""
    mapper = inspect(entity).mapper
    names = (mapper.get_property_by_column(column).key for column in mapper.primary_key)
    return statement.order_by(*(getattr(entity, name) for name in names))
