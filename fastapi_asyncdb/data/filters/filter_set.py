"""``FilterSet``: the filters, the search and the order that clients of a route may use."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from keyword import iskeyword
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar, get_args, get_origin

from sqlalchemy import ColumnElement
from sqlalchemy import inspect as inspect_mapped
from sqlalchemy.orm import Mapper

from fastapi_asyncdb.data.filters.any_of import AnyOf, conditions
from fastapi_asyncdb.data.filters.filter import Filter
from fastapi_asyncdb.data.filters.order_by import OrderBy
from fastapi_asyncdb.data.filters.parameters import Declaration, Parameter
from fastapi_asyncdb.data.filters.search import Search
from fastapi_asyncdb.data.injectable import Injectable
from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.query_string import QueryCheck, checked_first, query_parameter

M = TypeVar("M")
Statement = TypeVar("Statement", bound="Refined")

_CHECK = "query_check"


class Refined(Protocol):
    """A ``Select``, SQLAlchemy's or SQLModel's, which stays what it is."""

    def where(self, *whereclause: Any) -> Self:
        """Add conditions."""
        ...

    def order_by(self, *clauses: Any) -> Self:
        """Add an order."""
        ...


class FilterSet(Injectable, Generic[M]):
    """The filters, the search and the order that clients of a route may use.

    Declare them in a class, and the class as a dependency: ``Annotated[PostFilter, Depends()]``. What it
    does not declare, clients cannot use: other parameters than those of the route are refused with 422.

        class PostFilter(FilterSet[Post]):
            title = Filter(Post.title, "eq", "icontains")
            author_name = Filter(User.name, through=Post.author)
            search = Search(Post.title, Post.body, language="english")
            order_by = OrderBy(Post.created_at, Post.title, default="-created_at")

    Args:
        **values: By the names of parameters, as their types have them. FastAPI has validated those of a
            request. Those of an ``AnyOf`` are dictionaries of such values.

    Raises:
        TypeError: there is no parameter of the name.
    """

    model: ClassVar[type[Any]]
    """The mapped class."""
    ignore_unknown: ClassVar[bool] = False
    """Whether parameters that the route does not have are ignored, instead of refused."""
    _parameters: ClassVar[Mapping[str, Parameter]] = {}
    _ordering: ClassVar[str | None] = None

    def __init_subclass__(cls, **options: Any) -> None:
        """Check the declarations, and make the signature of the dependency."""
        super().__init_subclass__(**options)
        if "__init__" in vars(cls):
            raise ConfigurationError(
                f"{cls.__name__} has an __init__ of its own, where FastAPI reads the parameters that "
                "the class declares. Write a function instead that depends on the class."
            )
        if (model := _model_of(cls)) is not None:
            cls.model = model
        declared = _declarations(cls)
        if not declared:
            return
        cls._parameters = _parameters(declared, _mapper(cls))
        cls._ordering = _ordering(cls, declared)
        most = {name: parameter.most for name, parameter in cls._parameters.items()}
        check = QueryCheck(most, ignore_unknown=cls.ignore_unknown)
        cls.__init__ = _init(cls._parameters, check)  # type: ignore[method-assign]

    def __init__(self, **values: Any) -> None:
        unknown = values.keys() - self._parameters.keys()
        if unknown:
            raise TypeError(
                f"{type(self).__name__} has no parameter {min(unknown)!r}. It has: "
                f"{', '.join(self._parameters)}."
            )
        self.values: Mapping[str, Any] = {
            name: value for name, value in values.items() if value is not None
        }
        """What the client has sent, by the names of parameters."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} by {', '.join(self.values) or 'nothing'}>"

    @cached_property
    def where(self) -> Sequence[ColumnElement[bool]]:
        """The conditions, which all have to hold: ``posts.page(query, *filters.where)``."""
        return conditions(self.values, self._parameters)

    def apply(self, statement: Statement) -> Statement:
        """Return a statement with the conditions, and with the order if the set has one.

        Args:
            statement: A select of the model, without an order.
        """
        ordering = () if self._ordering is None else getattr(self, self._ordering)
        return statement.where(*self.where).order_by(*ordering)


def _model_of(cls: type[Any]) -> type[Any] | None:
    """Return the class in the brackets behind ``FilterSet``."""
    for base in vars(cls).get("__orig_bases__", ()):
        origin = get_origin(base)
        if isinstance(origin, type) and issubclass(origin, FilterSet):
            (model,) = get_args(base)
            return model if isinstance(model, type) else None
    return None


def _mapper(cls: type[FilterSet[Any]]) -> Mapper[Any]:
    mapper = inspect_mapped(getattr(cls, "model", None), raiseerr=False)
    if not isinstance(mapper, Mapper):
        raise ConfigurationError(
            f"{cls.__name__} has no model. Write a mapped class in brackets: class {cls.__name__}"
            "(FilterSet[Post])."
        )
    return mapper


def _declarations(cls: type[Any]) -> dict[str, Declaration]:
    """Return what the class and its bases declare; the class's own comes last."""
    known: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        known.update(vars(base))
    kinds = Filter | Search | OrderBy | AnyOf
    return {name: value for name, value in known.items() if isinstance(value, kinds)}


def _parameters(declared: Mapping[str, Declaration], mapper: Mapper[Any]) -> dict[str, Parameter]:
    parameters: dict[str, Parameter] = {}
    for name, declaration in declared.items():
        _check_name(name)
        for parameter in declaration.parameters(name, mapper):
            parameters[parameter.name] = parameter
    choices = {name: each for name, each in parameters.items() if each.condition is not None}
    for name, declaration in declared.items():
        if isinstance(declaration, AnyOf):
            parameters[name] = declaration.of(name, choices)
    return parameters


def _check_name(name: str) -> None:
    taken = hasattr(FilterSet, name) or name in _RESERVED or iskeyword(name)
    if "__" in name or name.startswith("_") or taken:
        raise ConfigurationError(
            f"A filter set cannot declare {name!r}: the name has a meaning of its own, or two "
            "underscores, which separate names and operators. Name it otherwise; the names of "
            "parameters need not be those of columns."
        )


def _ordering(cls: type[Any], declared: Mapping[str, Declaration]) -> str | None:
    names = [name for name, each in declared.items() if isinstance(each, OrderBy)]
    if len(names) > 1:
        raise ConfigurationError(
            f"{cls.__name__} has several orders: {', '.join(names)}. One statement has one: declare all "
            "columns in one OrderBy()."
        )
    return names[0] if names else None


def _init(parameters: Mapping[str, Parameter], check: QueryCheck) -> Callable[..., None]:
    """Return an ``__init__`` with the signature that FastAPI reads."""

    def init(self: FilterSet[Any], **values: Any) -> None:
        values.pop(_CHECK, None)
        FilterSet.__init__(self, **values)

    of_query = (
        query_parameter(name, each.type, each.description) for name, each in parameters.items()
    )
    this = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    signature = inspect.Signature([this, checked_first(_CHECK, check), *of_query])
    init.__annotations__ = {}
    init.__signature__ = signature  # type: ignore[attr-defined]
    return init


_RESERVED = {"values", _CHECK}
