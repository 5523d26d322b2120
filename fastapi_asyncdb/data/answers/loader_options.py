"""Loader options: what objects need of their relationships, and what a statement says about them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, cast

from sqlalchemy import Select, inspect
from sqlalchemy.ext.associationproxy import AssociationProxy
from sqlalchemy.orm import ColumnProperty, Mapper, RelationshipProperty, selectinload, undefer
from sqlalchemy.orm.interfaces import LoaderOption

from fastapi_asyncdb.data.answers.attributes import check_attributes, property_named
from fastapi_asyncdb.data.answers.shape import Field, Shape
from fastapi_asyncdb.data.pages.selects import froms, multiplies
from fastapi_asyncdb.errors import ConfigurationError

_DEEPEST = 255
"""Objects in each other that Pydantic follows. Without a limit, SQLAlchemy follows a circle forever."""
_WHEN = {"select", "joined", "selectin", "subquery", "immediate", "raise", "raise_on_sql"}
"""Strategies of SQLAlchemy that decide when a relationship is loaded, and not which objects it has."""


def loads_otherwise(statement: Select[Any], model: type[Any]) -> bool:
    """Return whether loading decides which objects there are, or are related.

    ``contains_eager()``, ``selectinload(Post.tags.and_(...))``, an inner join, and ``with_expression()``
    do. A collection that is loaded by a join makes objects unique that a join of the statement repeats.
    Other options decide when what is loaded, of which an answer has no need.
    """
    elements = [
        element
        for option in statement._with_options
        if isinstance(option, LoaderOption)
        for element in getattr(option, "context", (option,))
    ]
    if any(map(_decides, elements)):
        return True
    unique = any(map(_joins_many, elements)) or _is_joined_to_many(cast(Any, model))
    return unique and multiplies(froms(statement, model), model)


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


def _joins_many(element: Any) -> bool:
    is_joined = ("lazy", "joined") in (element.strategy or ())
    return is_joined and bool(element.path.parent.prop.uselist)


@lru_cache(maxsize=1024)
def _is_joined_to_many(model: type[Any]) -> bool:
    """Return whether a mapped class itself has a collection loaded by a join."""
    seen, waiting = set[Any](), [inspect(model).mapper]
    while waiting:
        mapper = waiting.pop()
        seen.add(mapper)
        joined = [each for each in mapper.relationships if each.lazy in ("joined", False)]
        if any(each.uselist for each in joined):
            return True
        waiting += [each.mapper for each in joined if each.mapper not in seen]
    return False


def loader_options(shapes: Iterable[Shape], entity: Any) -> Sequence[LoaderOption]:
    """Return what loads the relationships of schemas, so that none is loaded row by row.

    Args:
        shapes: The fields of the schemas.
        entity: The mapped class, or an alias of it.

    Raises:
        ConfigurationError: a related class has no attribute for a field that is required; two fields
            read the same relationship, and one has a ``Related``; or one with a ``Related`` is to an
            alias.
    """
    options = _options(shapes, entity)
    for option in options:
        for element in option.context:
            # An option of the statement for the same relationship wins, instead of being a conflict.
            element._reconcile_to_other = True
    return options


def _options(shapes: Iterable[Shape], entity: Any) -> list[Any]:
    return [
        option
        for shape in shapes
        for field in shape.fields
        for option in _of_field(shape, field, entity)
    ]


def _of_field(shape: Shape, field: Field, entity: Any) -> Iterator[Any]:
    names = [name for name in field.attributes if hasattr(entity, name)]
    for name in names if field.by_path else names[:1]:
        found = property_named(name, entity)
        if isinstance(found, RelationshipProperty):
            _refuse_twice(shape, field, name)
            yield from _loading(field, found, entity)
        elif isinstance(found, ColumnProperty) and found.deferred:
            yield undefer(getattr(entity, found.key))
        elif found is None:
            yield from _of_proxy(name, entity)


def _loading(field: Field, found: RelationshipProperty[Any], entity: Any) -> Iterator[LoaderOption]:
    attribute, related = getattr(entity, found.key), found.mapper.class_
    if isinstance(field.value, Shape):
        check_attributes(field.value, related)
    below = _options(field.shapes, related)
    if field.is_narrowed:
        _refuse_alias(field, found)
        return  # see narrowed.py
    if field.recursive and related is found.parent.class_:
        yield selectinload(attribute, recursion_depth=_DEEPEST)
    else:
        yield selectinload(attribute).options(*below)


def _of_proxy(name: str, entity: Any) -> Iterator[Any]:
    """Load what an association proxy reads."""
    mapper: Mapper[Any] = inspect(entity).mapper
    proxy = mapper.all_orm_descriptors.get(name)
    if not isinstance(proxy, AssociationProxy):
        return
    found = mapper.relationships[proxy.target_collection]
    related = found.mapper.relationships.get(proxy.value_attr)
    options = [] if related is None else [selectinload(getattr(found.mapper.class_, related.key))]
    yield selectinload(getattr(entity, found.key)).options(*options)


def _refuse_twice(shape: Shape, field: Field, name: str) -> None:
    names = [other.name for other in shape.fields if name in other.attributes]
    if field.is_narrowed and len(names) > 1:
        raise ConfigurationError(
            f"{' and '.join(names)} of {shape.name} read the same relationship, {name!r}, and one has a "
            "Related. Pydantic reads both from the same attribute of an object. Give the mapped class a "
            "relationship for each."
        )


def _refuse_alias(field: Field, found: RelationshipProperty[Any]) -> None:
    if found.entity is not found.mapper:
        raise ConfigurationError(
            f"{field.name} has a Related, and {found} is a relationship to an alias, which has "
            "conditions of its own. Leave one of them out."
        )
