"""``Filter``: a column that clients may filter by, and the operators that they may use."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Final

from pydantic import Field
from sqlalchemy import ColumnElement, SQLColumnExpression, exists, literal_column
from sqlalchemy.orm import Mapper, QueryableAttribute, RelationshipProperty, aliased

from fastapi_asyncdb.data.filters.operators import OPERATORS, Comparison, Operator
from fastapi_asyncdb.data.filters.parameters import (
    MAX_VALUES,
    Parameter,
    check_attribute,
    check_column,
)
from fastapi_asyncdb.data.filters.values import narrowed, value_type
from fastapi_asyncdb.errors import ConfigurationError

Relationships = QueryableAttribute[Any] | Sequence[QueryableAttribute[Any]]


class Filter:
    """A column that clients may filter by.

    As ``title = Filter(Post.title, "eq", "contains")`` in a ``FilterSet`` it is the parameters ``title``
    and ``title__contains``. All that a client sends have to hold.

    Args:
        column: An attribute of the model, or of the model that ``through`` leads to.
        *operators: Those that clients may use; ``eq`` without any.
        through: The relationships that lead to another model, the first one of the model itself. The
            condition is ``EXISTS``: some related row fulfils it. No row is repeated by it.
        type: What Pydantic accepts as a value: a part of what the column can have, or, of a column whose
            type is not known, anything.
    """

    def __init__(
        self,
        column: SQLColumnExpression[Any],
        *operators: Operator,
        through: Relationships = (),
        type: Any = None,  # noqa: A002
    ) -> None:
        self.column: Final[Any] = column
        self.operators: Final[Sequence[str]] = operators or ("eq",)
        self.through: Final[Sequence[Any]] = through if isinstance(through, Sequence) else [through]
        self.type: Final[Any] = type

    def parameters(self, name: str, mapper: Mapper[Any]) -> Iterator[Parameter]:
        """Yield a parameter for each operator.

        Args:
            name: The name of the attribute.
            mapper: The mapper of the model.

        Raises:
            ConfigurationError: an attribute is not one of its model, an operator does not exist or does
                not fit the column, or the type of the values is not known.
        """
        for attribute in self.through:
            check_attribute(attribute, mapper)
            mapper = _target(attribute)
        check_column(self.column, mapper)
        path = _Path(self.through, self.column)
        for operator in self.operators:
            comparison = self._comparison(operator)
            yield Parameter(
                name if operator == "eq" else f"{name}__{operator}",
                self._type(comparison),
                f"`{name}` {comparison.words}.",
                MAX_VALUES if comparison.value == "several" else 1,
                path.condition(comparison),
            )

    def _comparison(self, operator: str) -> Comparison:
        comparison = OPERATORS.get(operator)
        if comparison is None:
            raise ConfigurationError(
                f"There is no operator {operator!r} for {self.column}. The operators are: "
                f"{', '.join(OPERATORS)}."
            )
        if not comparison.fits(self.column.type):
            fitting = [name for name, each in OPERATORS.items() if each.fits(self.column.type)]
            raise ConfigurationError(
                f"{self.column} has the type {self.column.type!r}, which has no operator {operator!r}. "
                f"It has: {', '.join(fitting)}."
            )
        return comparison

    def _type(self, comparison: Comparison) -> Any:
        if comparison.value == "whether":
            return bool
        value = narrowed(value_type(self.column.type), self.type)
        if value is None:
            raise ConfigurationError(
                f"{self.column} has the type {self.column.type!r}, and what clients may send for it is "
                "not known. Name it: Filter(..., type=Annotated[int, Field(ge=0)])."
            )
        if comparison.value == "several":
            return Annotated[list[value], Field(max_length=MAX_VALUES)]  # type: ignore[valid-type]
        return value


class _Path:
    """The way from a model to a column of its own, or of another model.

    Each relationship leads to an alias, in a subquery that selects from it. In any() and has(),
    with_loader_criteria() does not see each entity, so that rows would be found that are deleted softly.
    """

    def __init__(self, relationships: Sequence[Any], column: Any) -> None:
        self._steps: list[tuple[Any, Any]] = []
        entity: Any = None
        for each in relationships:
            parent = each.parent.entity if entity is None else entity
            entity = aliased(_target(each).class_)
            self._steps.append((getattr(parent, each.key).of_type(entity), entity))
        self._column = column if entity is None else getattr(entity, column.key)

    def condition(self, comparison: Comparison) -> Callable[[Any], ColumnElement[bool]]:
        """Return what makes the condition for a value."""

        def condition(value: Any) -> ColumnElement[bool]:
            found = comparison.compare(self._column, value)
            for relationship, entity in reversed(self._steps):
                found = exists(literal_column("1")).select_from(entity).where(relationship, found)
            return found

        return condition


def _target(attribute: Any) -> Mapper[Any]:
    """Return the mapper that a relationship leads to."""
    if not isinstance(attribute.property, RelationshipProperty):
        raise ConfigurationError(
            f"{attribute} is no relationship, so it does not lead to another model. Name one in "
            "'through': Filter(User.name, through=Post.author)."
        )
    return attribute.property.mapper
