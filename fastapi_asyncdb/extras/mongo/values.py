"""Values are data: what may be stored and compared, and what is refused as an operator."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from bson import Binary, ObjectId
from bson.decimal128 import Decimal128
from pydantic import BaseModel

from fastapi_asyncdb.errors import InvalidValue

_DEEPEST = 90
"""Levels of nesting; BSON has 100."""
_LONG = 2**63
_SCALARS = (bool, float, bytes, ObjectId, UUID, Decimal128, Binary, type(None))


def plain(value: Any, *, depth: int = 0) -> Any:
    """Return a value as it is stored; enums as their values, sets as lists.

    Raises:
        InvalidValue: a mapping in it has a key with ``$``, a dot or NUL, so that it could be read as an
            operator or a path; a number is too large; a ``datetime`` is naive; it is nested too deep.
        TypeError: BSON does not have the type.
    """
    if type(value) in _SCALARS:
        return value
    if depth > _DEEPEST:
        raise InvalidValue(
            f"A value is nested deeper than {_DEEPEST} levels. Limit it in the model."
        )
    for kind, convert in _CONVERSIONS:
        if isinstance(value, kind):
            return convert(value, depth)
    raise TypeError(
        f"MongoDB cannot store a {type(value).__name__}. Use a type of BSON in the model: str, "
        "int, float, bool, Decimal, bytes, UUID, DocumentId, datetime (instead of date), lists "
        "and mappings of them."
    )


def equals(name: str, value: Any) -> dict[str, Any]:
    """Return the condition that a stored field equals a value, which is never read as an operator."""
    return {name: {"$eq": plain(value)}}


def _key(name: Any) -> str:
    if not isinstance(name, str) or name.startswith("$") or "." in name or "\0" in name:
        raise InvalidValue(
            "A key of a mapping starts with '$', has a dot or NUL in it, or is no text. MongoDB "
            "could read it as an operator or a path, so values must not have such keys. A client "
            "may have sent it instead of a plain value: declare the type of the value in the "
            "Pydantic model. Operators of your own go into raw_filter."
        )
    return name


def _text(value: str, depth: int) -> str:
    if type(value) is not str:  # a subclass of BSON's, such as Code, is no text
        value = str(value)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidValue("A text has half a character, which UTF-8 does not have.") from None
    return value


def _integer(value: int, depth: int) -> int:
    if not -_LONG <= value < _LONG:
        raise InvalidValue("An integer has more than 64 bits. Limit it in the Pydantic model.")
    return int(value)


def _decimal(value: Decimal, depth: int) -> Decimal128:
    try:
        return Decimal128(value)
    except ArithmeticError:
        raise InvalidValue(
            "A decimal has more than the 34 digits of Decimal128. Limit it in the Pydantic model."
        ) from None


def _aware(value: datetime, depth: int) -> datetime:
    if value.utcoffset() is None:
        raise InvalidValue(
            "A datetime has no time zone, so it is no point in time. Use datetime.now(UTC), and "
            "Pydantic's AwareDatetime for what clients send."
        )
    return value


def _mapping(value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
    return {_key(name): plain(item, depth=depth + 1) for name, item in value.items()}


def _items(value: Iterable[Any], depth: int) -> list[Any]:
    return [plain(item, depth=depth + 1) for item in value]


def _model(value: BaseModel, depth: int) -> Any:
    return plain(value.model_dump(by_alias=True), depth=depth)


def _member(value: Enum, depth: int) -> Any:
    return plain(value.value, depth=depth)


# The first that fits: a member of an enum may be a text or a number as well.
_CONVERSIONS: tuple[tuple[type | tuple[type, ...], Callable[[Any, int], Any]], ...] = (
    (Enum, _member),
    (str, _text),
    (int, _integer),
    (Decimal, _decimal),
    (datetime, _aware),
    (Mapping, _mapping),
    ((list, tuple, Set), _items),
    (BaseModel, _model),
)
