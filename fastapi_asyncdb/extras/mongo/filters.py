"""The filter and the order of a query, from values by attribute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.extras.mongo.documents import KEY, Layout
from fastapi_asyncdb.extras.mongo.values import equals

Filter = Mapping[str, Any]
"""A filter of MongoDB's, with operators."""
OrderBy = str | Sequence[str]
"""Attributes; with ``-`` in front in descending order: ``"-created_at"``."""
Keys = list[tuple[str, int]]
"""Stored fields with 1 or -1, as PyMongo sorts."""


def joined(*filters: Filter | None) -> dict[str, Any]:
    """Return the filter for which all of these hold."""
    given = [dict(each) for each in filters if each]
    if len(given) < 2:
        return given[0] if given else {}
    return {"$and": given}


def of_values(layout: Layout, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the filter for which the attributes have these values.

    Raises:
        TypeError: the model has no such attribute.
        InvalidValue: a value could be read as an operator.
    """
    return joined(*(equals(layout.name(name), value) for name, value in values.items()))


def sort_keys(layout: Layout, order_by: OrderBy, *, unique: bool = False) -> Keys:
    """Return what PyMongo sorts by.

    Args:
        layout: Knows the attributes.
        order_by: See ``OrderBy``.
        unique: Add the key, so that the order is that of one walk.

    Raises:
        TypeError: the model has no such attribute.
    """
    names = (order_by,) if isinstance(order_by, str) else order_by
    keys = [(layout.name(name.removeprefix("-")), -1 if name[:1] == "-" else 1) for name in names]
    if unique and all(name != KEY for name, _ in keys):
        keys.append((KEY, keys[-1][1] if keys else 1))
    return keys


def check_limit(limit: int | None, most: int, name: str) -> None:
    """Refuse a limit that is negative or above the bound.

    Raises:
        ConfigurationError: it is.
    """
    if limit is not None and not 0 <= limit <= most:
        raise ConfigurationError(
            f"limit={limit} is not between 0 and the {most} documents that {name} may return. Read "
            "page by page, or set max_rows in your repository class."
        )
