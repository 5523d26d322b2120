"""``Parameter``: a query parameter of a filter set, and the condition that its value stands for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import ColumnElement
from sqlalchemy.orm import Mapper, QueryableAttribute

from fastapi_asyncdb.errors import ConfigurationError

MAX_VALUES = 100
"""The values of a list."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query parameter.

    Attributes:
        type: What Pydantic validates; of a parameter that may be repeated, a list.
        description: What it means, for OpenAPI.
        most: How often it may be sent.
        condition: Makes the condition for a value; an ordering has none.
    """

    name: str
    type: Any
    description: str
    most: int = 1
    condition: Callable[[Any], ColumnElement[bool]] | None = None


class Declaration(Protocol):
    """What the class of a filter set declares: it becomes parameters."""

    def parameters(self, name: str, mapper: Mapper[Any]) -> Iterator[Parameter]:
        """Yield the parameters of an attribute of a filter set.

        Args:
            name: The name of the attribute.
            mapper: The mapper of the model.

        Raises:
            ConfigurationError: the declaration does not fit the model, or itself.
        """
        ...


def check_attribute(attribute: Any, mapper: Mapper[Any]) -> None:
    """Refuse what is no attribute of a model: it would bring another table into the statement.

    Raises:
        ConfigurationError: it is none.
    """
    name = mapper.class_.__name__
    if not isinstance(attribute, QueryableAttribute):
        raise ConfigurationError(
            f"{attribute!r} is no attribute of a mapped class. Filters and orders are made of such: "
            f"{name}.id. Map an expression as a column_property() first."
        )
    if attribute.parent.is_aliased_class:
        raise ConfigurationError(
            f"{attribute} is an attribute of an alias, which no statement selects from. Name the "
            f"attribute of the class: {name}.{attribute.key}. For a relationship to rows of the same "
            "class, name it in 'through': an alias is made for it."
        )
    owner = attribute.parent.mapper
    if not mapper.isa(owner):
        raise ConfigurationError(
            f"{attribute} is an attribute of {owner.class_.__name__}, where one of {name} is needed. "
            "For a related model, name the relationship that leads to it: "
            "Filter(User.name, through=Post.author)."
        )


def check_column(attribute: Any, mapper: Mapper[Any]) -> None:
    """Refuse what is no column of a model.

    Raises:
        ConfigurationError: it is none.
    """
    check_attribute(attribute, mapper)
    if getattr(attribute, "type", None) is None:
        raise ConfigurationError(
            f"{attribute} is no column; it may be a relationship. Name a column of the model that it "
            "leads to: Filter(User.name, through=Post.author)."
        )
