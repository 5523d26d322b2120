"""``Related``: which rows of a relationship a field of a schema has, and in which order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi_asyncdb.errors import ConfigurationError

Clauses = Callable[[Any], Any]
"""Gets the related class, or an alias of it; returns one clause or a sequence of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Related:
    """Which rows of a relationship a field has: ``Annotated[list[TagOut], Related(limit=3)]``.

    The functions are not called for each answer: a value that they read is that of all requests. One of
    each request is ``bindparam(None, callable_=...)``.

    Args:
        where: Called with the related class, or an alias of it; returns one condition or a list of them,
            as in ``lambda tag: tag.is_public``. By default all rows are meant.
        order_by: Called likewise; returns one expression or a list of them. By default the order is that
            of the relationship.
        limit: The most rows for each parent, from 0. By default there is no limit.

    Raises:
        ConfigurationError: the limit is negative; a condition or an order is no function.
    """

    where: Clauses | None = None
    order_by: Clauses | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 0:
            raise ConfigurationError(
                f"Related(limit={self.limit}) is negative. Pass the most rows for each parent, or leave "
                "the limit out for all of them."
            )

        for name, given in (("where", self.where), ("order_by", self.order_by)):
            if given is not None and not callable(given):
                raise ConfigurationError(
                    f"Related({name}=...) is no function. Write 'lambda tag: tag.name' and the like: it "
                    "is called with the related class, or an alias of it."
                )

    @property
    def narrows(self) -> bool:
        """Whether it chooses rows or their order."""
        return not (self.where is None and self.order_by is None and self.limit is None)

    def conditions(self, entity: Any) -> Sequence[Any]:
        """Return the conditions for the related class, or an alias of it."""
        return _several(self.where, entity)

    def order(self, entity: Any) -> Sequence[Any]:
        """Return the order for the related class, or an alias of it."""
        return _several(self.order_by, entity)


def _several(clauses: Clauses | None, entity: Any) -> Sequence[Any]:
    if clauses is None:
        return ()
    found = clauses(entity)
    return tuple(found) if isinstance(found, list | tuple) else (found,)
