"""The values of ordering keys: how a cursor carries them, and which of them a column can have."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from struct import pack, unpack
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Boolean, LargeBinary, Numeric, String, Uuid, types
from sqlalchemy.engine.interfaces import Dialect

N = TypeVar("N", float, Decimal)

MOST_DIGITS = 200
"""Of a decimal whose column has no precision."""
_DECIMAL = re.compile(rf"-?([0-9]{{1,{MOST_DIGITS}}})(?:\.([0-9]{{1,{MOST_DIGITS}}}))?")


@dataclass(frozen=True, slots=True)
class Carrier:
    """How the values of one type are carried.

    Both functions raise ``ValueError``, ``TypeError`` or ``ArithmeticError`` for other values.
    """

    to_json: Callable[[Any], Any]
    from_json: Callable[[Any], Any]
    """Accepts nothing that the database would refuse."""

    def carry(self, value: Any) -> Any:
        """Return a value as JSON has it, if it can be read again."""
        carried = self.to_json(value)
        self.from_json(carried)
        return carried


def carrier_of(kind: Any, dialect: Dialect, *, wide_numbers: bool) -> Carrier | None:
    """Return how the values of a type are carried; ``None`` if they cannot be.

    Args:
        kind: The type.
        dialect: Its implementation counts, but for REAL, which it does not tell from other floats.
        wide_numbers: Whether every integer and float of the database has 64 bits.
    """
    carrier = _carrier_of(kind.dialect_impl(dialect), wide_numbers=wide_numbers)
    if carrier is None or wide_numbers or not is_single(kind):
        return carrier
    return _single(carrier)


def _carrier_of(impl: Any, *, wide_numbers: bool) -> Carrier | None:
    match impl:
        case types.Enum():
            return _enum(impl)
        case types.Integer():
            return _integer(64 if wide_numbers else bits_of(impl))
        case Numeric() | types.Float():
            return _number(impl)
        case Uuid():
            return _UUID if impl.as_uuid else _UUID_TEXT
        case types.DateTime():
            return _moment(datetime, timezone=impl.timezone)
        case types.Time():
            return _moment(time, timezone=impl.timezone)
        case _:
            return next((known for each, known in _BY_TYPE.items() if isinstance(impl, each)), None)


def _exact(kind: type[Any]) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if type(value) is not kind:
            raise TypeError
        return value

    return check


def bits_of(impl: types.Integer) -> int:
    """Return the bits of an integer, as most databases have it."""
    if isinstance(impl, types.BigInteger):
        return 64
    return 16 if isinstance(impl, types.SmallInteger) else 32


def fits(value: int, bits: int) -> bool:
    """Return whether a signed integer of so many bits can have the value."""
    return -(1 << bits - 1) <= value < 1 << bits - 1


def _integer(bits: int) -> Carrier:
    def from_json(value: Any) -> int:
        if type(value) is not int or not fits(value, bits):
            raise ValueError
        return value

    # PostgreSQL's sum() of integers is a Decimal.
    return Carrier(int, from_json)


def is_single(kind: Any) -> bool:
    """Return whether a float has 32 bits: https://www.postgresql.org/docs/current/datatype-numeric.html."""
    return isinstance(kind, types.REAL) or (
        isinstance(kind, types.Float) and kind.precision is not None and kind.precision <= 24
    )


def _single(carrier: Carrier) -> Carrier:
    """Return how the values of a REAL are carried."""
    return Carrier(carrier.to_json, lambda value: of_32_bits(carrier.from_json(value)))


def of_32_bits(number: N) -> N:
    """Return a number that a REAL can have: the server refuses all others.

    Raises:
        ValueError: it overflows, or would become zero.
    """
    try:
        # In standard form: only that is refused when it is too large.
        (rounded,) = unpack("<f", pack("<f", number))
    except OverflowError:
        raise ValueError("the number is too large") from None
    if number and not rounded:
        raise ValueError("the number is too small")
    return number


def _decimal(precision: int | None, scale: int | None) -> Carrier:
    before = MOST_DIGITS if precision is None else precision - (scale or 0)
    after = MOST_DIGITS if precision is None else scale or 0

    def from_json(value: Any) -> Decimal:
        number = _DECIMAL.fullmatch(value)
        # More digits after the point would be rounded, up to a number that has one more before it.
        if number is None or len(number[1].lstrip("0")) > before or len(number[2] or "") > after:
            raise ValueError
        return Decimal(value)

    return Carrier(lambda value: format(value, "f"), from_json)


def _number(impl: Any) -> Carrier:
    precision = None if isinstance(impl, types.Float) else impl.precision
    if impl.asdecimal:
        return _decimal(precision, impl.scale)
    if precision is None:
        return Carrier(float, _exact(float))
    return _rounded(precision, impl.scale or 0)


def _rounded(precision: int, scale: int) -> Carrier:
    """Return how the values of a NUMERIC that are floats are carried."""

    def from_json(value: Any) -> float:
        if abs(round(_exact(float)(value), scale)) >= 10 ** (precision - scale):
            raise ValueError
        return float(value)

    return Carrier(float, from_json)


def _enum(impl: types.Enum) -> Carrier:
    known: dict[str, Any]
    if impl.enum_class is None:
        known = {name: name for name in impl.enums}
    else:
        known = dict(impl.enum_class.__members__.items())
    names = {value: name for name, value in reversed(known.items())}

    def read(names: dict[Any, Any]) -> Callable[[Any], Any]:
        def look_up(value: Any) -> Any:
            if value not in names:
                raise ValueError
            return names[value]

        return look_up

    return Carrier(read(names), read(known))


def _text(value: Any) -> str:
    if type(value) is not str or "\0" in value:
        raise ValueError
    # Lone surrogates have no UTF-8.
    value.encode()
    return value


def _uuid(value: Any) -> UUID:
    return UUID(hex=_text(value))


def _moment(kind: type[datetime] | type[time], *, timezone: bool) -> Carrier:
    def from_json(value: Any) -> Any:
        moment: Any = kind.fromisoformat(value)
        if moment.tzinfo is not None and not timezone:
            raise ValueError
        if isinstance(moment, datetime) and timezone:
            # As the driver does, which overflows in the years 1 and 9999.
            moment.astimezone(UTC)
        return moment

    return Carrier(kind.isoformat, from_json)


_UUID = Carrier(str, _uuid)
_UUID_TEXT = Carrier(str, lambda value: str(_uuid(value)))
_BY_TYPE: dict[type[Any], Carrier] = {
    Boolean: Carrier(_exact(bool), _exact(bool)),
    types.Date: Carrier(lambda value: _exact(date)(value).isoformat(), date.fromisoformat),
    String: Carrier(_text, _text),
    LargeBinary: Carrier(
        lambda value: base64.b64encode(value).decode(),
        lambda value: base64.b64decode(value, validate=True),
    ),
}
