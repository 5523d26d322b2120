"""Loader options: what objects need of their relationships, and what a statement says about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select
from sqlalchemy.orm import RelationshipProperty, selectinload
from sqlalchemy.orm.interfaces import LoaderOption

from fastapi_asyncdb.data.answers.attributes import check_attributes, property_of
from fastapi_asyncdb.data.answers.shape import Field, Shape
from fastapi_asyncdb.errors import ConfigurationError

_WHEN = {"select", "joined", "selectin", "subquery", "immediate", "raise", "raise_on_sql"}
"""Strategies of SQLAlchemy that decide when a relationship is loaded, and not which objects it has."""


def loads_otherwise(statement: Select[Any]) -> bool:
    """Return whether loader options of a statement decide which objects there are, or are related.

    ``contains_eager()``, ``selectinload(Post.tags.and_(...))``, an inner join, and ``with_expression()``
    do. Others decide when what is loaded, of which an answer has no need.
    """
    return any(
        _decides(element)
        for option in statement._with_options
        if isinstance(option, LoaderOption)
        for element in getattr(option, "context", (option,))
    )


def _decides(element: Any) -> bool:
    strategy = dict(element.strategy or ())
    arguments: Any = element.local_opts
    return (
        bool(getattr(element, "_extra_criteria", ()))
        or strategy.get("lazy", "select") not in _WHEN
        or "query_expression" in strategy
        or "eager_from_alias" in arguments
        or bool(arguments.get("innerjoin"))
    )


def loader_options(shape: Shape, entity: Any, reason: str) -> Sequence[LoaderOption]:
    """Return what loads the relationships of a schema, so that none is loaded row by row.

    Args:
        shape: The fields of the schema.
        entity: The mapped class, or an alias of it.
        reason: Why the database does not build the JSON.

    Raises:
        ConfigurationError: an order or a limit of a relationship needs JSON that the database builds.
    """
    options = _options(shape, entity, reason)
    for option in options:
        for element in option.context:
            # An option of the statement for the same relationship wins, instead of being a conflict.
            element._reconcile_to_other = True
    return options


def _options(shape: Shape, entity: Any, reason: str) -> Sequence[Any]:
    options: list[Any] = []
    for field in shape.nested:
        found = property_of(field, entity)
        if not isinstance(found, RelationshipProperty):
            continue
        _refuse_related(shape, field, reason)
        attribute = getattr(entity, found.key)
        related = found.mapper.class_
        if field.related is not None:
            attribute = attribute.and_(*field.related.conditions(related))
        if isinstance(field.value, Shape):
            check_attributes(field.value, related)
            options.append(selectinload(attribute).options(*_options(field.value, related, reason)))
        elif related is found.parent.class_:
            options.append(selectinload(attribute, recursion_depth=-1))
    return options


def _refuse_related(shape: Shape, field: Field, reason: str) -> None:
    related = field.related
    if related is not None and (related.limit is not None or related.order_by is not None):
        raise ConfigurationError(
            f"Related(limit=..., order_by=...) of {shape.name}.{field.name} needs JSON that the "
            f"database builds, and Pydantic validates objects here, since {reason}. Change that, or "
            "leave them out and give the relationship an order_by."
        )
