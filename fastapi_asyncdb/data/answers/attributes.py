"""Which attribute of a mapped class a field of a schema is read from."""

from __future__ import annotations

from typing import Any

from sqlalchemy import inspect
from sqlalchemy.orm import Mapper, RelationshipProperty, SynonymProperty

from fastapi_asyncdb.data.answers.shape import Field, Shape
from fastapi_asyncdb.errors import ConfigurationError


def check_attributes(shape: Shape, model: type[Any]) -> None:
    """Check that each required field has an attribute, and each with a ``Related`` a relationship.

    Raises:
        ConfigurationError: one has not.
    """
    for field in shape.fields:
        if field.related and not isinstance(property_of(field, model), RelationshipProperty):
            raise ConfigurationError(
                f"{shape.name}.{field.name} has a Related, and {model.__name__} has no relationship of "
                "that name. Leave the Related out, or name the relationship as validation_alias."
            )
        if field.required and field.attributes and attribute_of(field, model) is None:
            raise ConfigurationError(
                f"{model.__name__} has no attribute {field.attributes[0]!r}, which {shape.name} "
                f"requires for its field {field.name!r}: the schema is that of another model, or has "
                "another name for it. Rename the field, give it a validation_alias or a default."
            )


def attribute_of(field: Field, source: Any) -> str | None:
    """Return the name of the attribute of a class, or an object; ``None`` if there is none."""
    return next((name for name in field.attributes if hasattr(source, name)), None)


def property_of(field: Field, entity: Any) -> Any:
    """Return what a class, or an alias of it, has mapped under that name; ``None`` if nothing is."""
    name = attribute_of(field, entity)
    return None if name is None else property_named(name, entity)


def property_named(name: str, entity: Any) -> Any:
    """Return what a class, or an alias of it, has mapped under a name, or under what it stands for."""
    mapper: Mapper[Any] = inspect(entity).mapper
    found: Any = mapper.attrs.get(name)
    while isinstance(found, SynonymProperty):
        found = mapper.attrs.get(found.name)
    return found
