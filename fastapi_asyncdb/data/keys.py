"""Primary keys, as ``Session.get()`` takes them: a value, a tuple, or a mapping by attribute name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Integer
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapper

from fastapi_asyncdb.data.key_values import bits_of, fits
from fastapi_asyncdb.dialects import backend_of


def equals_key(mapper: Mapper[Any], key: Any) -> list[ColumnElement[bool]]:
    """Return the conditions that select the row with the key.

    Raises:
        ValueError: the key has not as many values as the model's.
    """
    pairs = zip(mapper.primary_key, _values(mapper, key), strict=True)
    return [column == value for column, value in pairs]


def is_impossible(session: AsyncSession, mapper: Mapper[Any], key: Any) -> bool:
    """Return whether no row can have the key, since it does not fit into its column.

    For PostgreSQL such a value in a query is an error, and not a row that is missing.
    """
    values = (key,) if type(key) in (int, str) else _values(mapper, key)
    for value, bits in zip(values, _bits(mapper), strict=False):
        if isinstance(value, str):
            if "\0" in value:
                return True
        elif isinstance(value, int) and bits and not fits(value, bits):
            backend = backend_of(session.get_bind(mapper).dialect)
            if backend is None or not backend.wide_numbers or not fits(value, 64):
                return True
    return False


def _values(mapper: Mapper[Any], key: Any) -> Sequence[Any]:
    if isinstance(key, Mapping):
        names = [mapper.get_property_by_column(column).key for column in mapper.primary_key]
        return [key[name] for name in names]
    return key if isinstance(key, tuple | list) else (key,)


@cache
def _bits(mapper: Mapper[Any]) -> tuple[int | None, ...]:
    """Return the bits of each column of the primary key; ``None`` for what is no integer."""
    kinds = (column.type for column in mapper.primary_key)
    return tuple(bits_of(kind) if isinstance(kind, Integer) else None for kind in kinds)
