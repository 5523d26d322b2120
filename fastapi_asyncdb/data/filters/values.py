"""The types of values: what Pydantic accepts for a column is what every database accepts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, Field, NaiveDatetime, TypeAdapter
from sqlalchemy import types
from sqlalchemy.types import TypeDecorator, TypeEngine

from fastapi_asyncdb.data.key_values import MOST_DIGITS, bits_of, is_single, of_32_bits
from fastapi_asyncdb.models import UTCDateTime
from fastapi_asyncdb.query_string import MAX_LENGTH


def value_type(kind: TypeEngine[Any]) -> Any:
    """Return the type of the values of a column, with its range, as an annotation for Pydantic.

    Args:
        kind: The type of the column.

    Returns:
        The annotation; ``None`` if there is none: the type is not known, or converts values its own way.
    """
    if isinstance(kind, TypeDecorator):
        if _converts(kind):
            return None
        kind = kind.impl_instance
    return next((make(kind) for known, make in _BY_TYPE.items() if isinstance(kind, known)), None)


def narrowed(known: Any, narrower: Any) -> Any:
    """Return the type of values that fulfil both of two types, of which either may be ``None``."""
    if known is None or narrower is None:
        return known if narrower is None else narrower
    return Annotated[narrower, AfterValidator(TypeAdapter(known).validate_python)]


def _converts(kind: TypeDecorator[Any]) -> bool:
    """Return whether values are not those of the type in the database."""
    if isinstance(kind, UTCDateTime):
        return False
    own = type(kind).process_bind_param is not TypeDecorator.process_bind_param
    return own or isinstance(kind, types.Interval | types.PickleType)


def _enum(kind: types.Enum) -> Any:
    return kind.enum_class or Literal[tuple(kind.enums)]


def _integer(kind: types.Integer) -> Any:
    bound = 1 << bits_of(kind) - 1
    return Annotated[int, Field(ge=-bound, lt=bound)]


def _float(kind: types.Float[Any]) -> Any:
    return Annotated[_Float, AfterValidator(of_32_bits)] if is_single(kind) else _Float


def _decimal(kind: types.Numeric[Any]) -> Any:
    """Return a decimal that needs no rounding, which might overflow the column."""
    if kind.precision is None:
        limits = Field(allow_inf_nan=False, max_digits=MOST_DIGITS)
    else:
        limits = Field(
            allow_inf_nan=False, max_digits=kind.precision, decimal_places=kind.scale or 0
        )
    return Annotated[Decimal, limits, AfterValidator(_without_exponent_of_zero)]


def _without_exponent_of_zero(value: Decimal) -> Decimal:
    """Return 0 for ``0e999999999``: it has one digit, and an exponent that PostgreSQL refuses."""
    return value or Decimal(0)


def _storable(value: str) -> str:
    # PostgreSQL's text has none: https://www.postgresql.org/docs/current/datatype-character.html
    if "\0" in value:
        raise ValueError("NUL characters are not allowed")
    # Lone surrogates have no UTF-8.
    value.encode()
    return value


def _in_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("the time is not in the years 1 to 9999 of UTC") from None


def _aware(value: time) -> time:
    if value.tzinfo is None:
        raise ValueError("a time zone is needed")
    return value


def _naive(value: time) -> time:
    if value.tzinfo is not None:
        raise ValueError("a time zone is not allowed")
    return value


Text = Annotated[str, Field(max_length=MAX_LENGTH), AfterValidator(_storable)]
"""A text, as every database can have it."""
_Float = Annotated[float, Field(allow_inf_nan=False)]
_Aware = Annotated[AwareDatetime, AfterValidator(_in_utc)]

# The first that fits: an Enum is a String, a Float a Numeric.
_BY_TYPE: dict[type[Any], Callable[[Any], Any]] = {
    types.Enum: _enum,
    types.String: lambda kind: Text,
    types.Integer: _integer,
    types.Float: _float,
    types.Numeric: _decimal,
    types.DateTime: lambda kind: _Aware if kind.timezone else NaiveDatetime,
    types.Time: lambda kind: Annotated[time, AfterValidator(_aware if kind.timezone else _naive)],
    types.Uuid: lambda kind: UUID if kind.as_uuid else Annotated[UUID, AfterValidator(str)],
    types.Boolean: lambda kind: bool,
    types.Date: lambda kind: date,
}
