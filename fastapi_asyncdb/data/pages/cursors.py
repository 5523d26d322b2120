"""Cursors: a position in an ordering as opaque text, and what may be read from it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, ColumnElement, Numeric, bindparam, cast, types
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

from fastapi_asyncdb.data.key_values import Carrier, carrier_of
from fastapi_asyncdb.data.pages.keyset import Pair
from fastapi_asyncdb.data.pages.ordering import OrderKey
from fastapi_asyncdb.data.pages.sealed import SealedText
from fastapi_asyncdb.dialects import backend_of
from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.signatures import Secret


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page starts: after the values, or before them; without any, at either end."""

    backwards: bool = False
    pairs: Sequence[Pair] = ()


@dataclass(frozen=True, slots=True)
class _KeyType:
    """A key, the type of its parameter, and how its values are carried.

    The values of a ``TypeDecorator`` are carried as it gives them to the database. So they may be
    anything in Python, and the decorator gets none that a client has made up.
    """

    key: OrderKey
    carrier: Carrier
    bound: TypeEngine[Any]
    decorators: tuple[TypeDecorator[Any], ...]
    dialect: Dialect

    def write(self, value: Any) -> Any:
        for decorator in self.decorators:
            value = decorator.process_bind_param(value, self.dialect)
        return None if value is None else self.carrier.carry(value)

    def read(self, carried: Any) -> Pair:
        if carried is None:
            if not self.key.nullable:
                raise ValueError
            return self.key, None
        value: Any = bindparam(None, self.carrier.from_json(carried), type_=self.bound)
        # As the column rounds it: a REAL differs from the same number as a double.
        return self.key, cast(value, self.bound) if isinstance(self.bound, types.Float) else value


class CursorFormat:
    """Writes and reads the cursors of one ordering.

    Args:
        keys: The ordering.
        names: What else a cursor is bound to: the names of what the statement selects.
        dialect: The database's.
        secret: Signs the cursors; without one they have a checksum.

    Raises:
        ConfigurationError: the values of a key cannot be carried, or the secret is empty.
    """

    def __init__(
        self,
        keys: Sequence[OrderKey],
        names: Sequence[str],
        dialect: Dialect,
        secret: Secret | None,
    ) -> None:
        self._types = [_key_type(key, dialect) for key in keys]
        ordering = [names, [_fingerprint(key, dialect) for key in keys]]
        self._text = SealedText(json.dumps(ordering).encode(), secret)

    def write(self, values: Sequence[Any], *, backwards: bool) -> str:
        """Return the cursor of the rows after a row, or before it.

        Args:
            values: What ends with the values of the keys, or nothing.
            backwards: Whether it is of the rows before.
        """
        try:
            carried = [
                key.write(value)
                for key, value in zip(self._types, values[-len(self._types) :], strict=False)
            ]
        except (ValueError, TypeError, ArithmeticError, LookupError) as error:
            raise ConfigurationError(
                "A cursor cannot carry a value that a row is ordered by: it does not fit the type of "
                "its column, is not finite, or has NUL in it. Order by another column."
            ) from error
        payload = json.dumps([int(backwards), *carried], separators=(",", ":")).encode()
        return self._text.write(payload)

    def read(self, cursor: str) -> Position:
        """Return the position.

        Raises:
            InvalidCursor: the cursor is none, has another signature, or is of another ordering.
        """
        return self._text.read(cursor, self._parse)

    def _parse(self, payload: bytes) -> Position:
        backwards, *carried = json.loads(payload)
        if backwards not in (0, 1) or len(carried) not in (0, len(self._types)):
            raise ValueError
        pairs = [key.read(value) for key, value in zip(self._types, carried, strict=False)]
        return Position(bool(backwards), pairs)


def _key_type(key: OrderKey, dialect: Dialect) -> _KeyType:
    bound: TypeEngine[Any] = key.expression.type
    decorators: list[TypeDecorator[Any]] = []
    # One with a bind_processor() of its own, such as Interval, does not say what it gives the database.
    while isinstance(bound, TypeDecorator) and not _overrides(bound, "bind_processor"):
        if _overrides(bound, "process_bind_param"):
            decorators.append(bound)
        bound = bound.load_dialect_impl(dialect)
    if not isinstance(key.expression, Column):
        bound = _widest(bound)
    backend = backend_of(dialect)
    carrier = carrier_of(bound, dialect, wide_numbers=backend is not None and backend.wide_numbers)
    if carrier is None:
        raise ConfigurationError(
            f"A cursor cannot carry '{key.expression}', whose type is {bound!r}. Order by a column of "
            "another type, or give a function its type: 'func.lower(User.name, type_=String)'."
        )
    return _KeyType(key, carrier, bound, tuple(decorators), dialect)


def _overrides(decorator: TypeDecorator[Any], name: str) -> bool:
    return getattr(type(decorator), name) is not getattr(TypeDecorator, name)


def _widest(bound: TypeEngine[Any]) -> TypeEngine[Any]:
    """Return the type for an expression: a sum exceeds the type of what it adds up."""
    if isinstance(bound, types.Integer):
        return types.BigInteger()
    if isinstance(bound, Numeric) and bound.asdecimal:
        return Numeric()
    return bound


def _fingerprint(key: OrderKey, dialect: Dialect) -> list[Any]:
    return [_name(key.expression, dialect), key.descending, key.nulls_first]


def _name(expression: ColumnElement[Any], dialect: Dialect) -> Any:
    """Return the same name for the same expression in every process."""
    if isinstance(expression, Column):
        base = next(iter(expression.base_columns))
        return [str(getattr(getattr(base, "table", None), "fullname", "")), expression.name]
    compiled = expression.compile(dialect=dialect)
    return [str(compiled), repr(sorted(compiled.params.items()))]
