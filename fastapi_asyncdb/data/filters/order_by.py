"""``OrderBy``: the orders that clients may choose from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, overload

from pydantic import AfterValidator, BeforeValidator, Field
from sqlalchemy import ColumnElement, SQLColumnExpression
from sqlalchemy.orm import Mapper

from fastapi_asyncdb.data.filters.parameters import Parameter, check_column
from fastapi_asyncdb.errors import ConfigurationError

if TYPE_CHECKING:
    from fastapi_asyncdb.data.filters.filter_set import FilterSet


class OrderBy:
    """The columns that clients may order by.

    As ``order_by = OrderBy(Post.created_at, Post.title)`` in a ``FilterSet`` it is the parameter
    ``order_by``. ``?order_by=-created_at,title`` is the newest first, and those of the same time by
    title. ``filters.order_by`` is what ``Select.order_by()`` takes; pages append the primary key.

    Args:
        *columns: Attributes of the model, which have their own names in the query string.
        default: The order of a request that names none, such as ``"-created_at,title"``.
        **named: Attributes of the model by other names.
    """

    def __init__(
        self,
        *columns: SQLColumnExpression[Any],
        default: str = "",
        **named: SQLColumnExpression[Any],
    ) -> None:
        self._columns: dict[str, Any] = {getattr(each, "key", ""): each for each in columns}
        self._columns.update(named)
        self._default = default.split(",") if default else []
        self._name = ""

    def __set_name__(self, owner: type[Any], name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type[Any]) -> Self: ...
    @overload
    def __get__(
        self, instance: FilterSet[Any], owner: type[Any]
    ) -> Sequence[ColumnElement[Any]]: ...
    def __get__(
        self, instance: FilterSet[Any] | None, owner: type[Any]
    ) -> Self | Sequence[ColumnElement[Any]]:
        """Return the order that a request has named, or the default."""
        if instance is None:
            return self
        return self.clauses(instance.values.get(self._name, self._default))

    def clauses(self, keys: Sequence[str]) -> list[ColumnElement[Any]]:
        """Return what ``Select.order_by()`` takes.

        Args:
            keys: The names of columns, those of a descending order with a minus.
        """
        columns = [(self._columns[key.removeprefix("-")], key.startswith("-")) for key in keys]
        return [column.desc() if descending else column.asc() for column, descending in columns]

    def parameters(self, name: str, mapper: Mapper[Any]) -> Iterator[Parameter]:
        """Yield the only parameter.

        Args:
            name: The name of the attribute.
            mapper: The mapper of the model.

        Raises:
            ConfigurationError: an attribute is not one of the model, or the default is not one of them.
        """
        for column in self._columns.values():
            check_column(column, mapper)
        keys = tuple(key for each in self._columns for key in (each, f"-{each}"))
        if not keys or not set(self._default) <= set(keys):
            raise ConfigurationError(
                f"The order {name!r} of {mapper.class_.__name__} has the default "
                f"{','.join(self._default)!r}, which is made of other names than its columns: "
                f"{', '.join(self._columns) or 'there are none'}. Name the columns first: "
                "OrderBy(Post.created_at, default='-created_at')."
            )
        yield Parameter(name, self._type(keys), self._description(), len(self._columns))

    def _type(self, keys: tuple[str, ...]) -> Any:
        return Annotated[
            list[Literal[keys]],  # type: ignore[valid-type]
            Field(max_length=len(self._columns)),
            BeforeValidator(_split),
            AfterValidator(_without_repetition),
        ]

    def _description(self) -> str:
        default = f" Without it: `{','.join(self._default)}`." if self._default else ""
        return f"The order: names, separated by commas; a minus for descending.{default}"


def _split(values: Any) -> Any:
    """Take commas apart; a parameter that is repeated is a list already."""
    return [key for value in values for key in str(value).split(",")]


def _without_repetition(keys: list[str]) -> list[str]:
    names = [key.removeprefix("-") for key in keys]
    if len(set(names)) < len(names):
        raise ValueError("a name is repeated")
    return keys
