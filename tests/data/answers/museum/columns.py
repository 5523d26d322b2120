"""Columns of all types, each twice: one that takes no NULL, and one that does."""

from __future__ import annotations

import enum
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    CHAR,
    JSON,
    REAL,
    BigInteger,
    Boolean,
    Date,
    DateTime,
    Dialect,
    Enum,
    Float,
    Integer,
    Interval,
    LargeBinary,
    Numeric,
    PickleType,
    SmallInteger,
    TypeDecorator,
    Uuid,
)
from sqlalchemy.dialects.postgresql import INET, JSONB
from sqlalchemy.orm import MappedColumn, mapped_column
from sqlalchemy.types import TypeEngine

from fastapi_asyncdb.models import UTCDateTime
from tests.support.mysql_types import CLOCK, DOUBLE, MOMENT, NUMBER, TEXT, WORD


class Color(enum.Enum):
    RED = "red"
    BLUE = "it's blue"
    SCARLET = "red"  # noqa: PIE796 - another name of the same


class Grade(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Style(enum.StrEnum):
    OLD = "old"
    NEW = "new"


class Mixed(enum.Enum):
    NUMBER = 1
    TEXT = 'one "1"'


class Shouted(TypeDecorator[str]):
    """Returns texts in upper case."""

    impl = WORD
    cache_ok = True

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else value.upper()


TYPES: dict[str, TypeEngine[Any]] = {
    "flag": Boolean(),
    "small": SmallInteger(),
    "number": Integer(),
    "big": BigInteger(),
    "double": DOUBLE,
    "real": REAL(),
    "share": Float(53),
    "weight": Float(53, asdecimal=True),
    "price": Numeric(10, 2),
    "exact": Numeric(38, 10),
    "amount": Numeric(12, 0),
    "loose": NUMBER,
    "rounded": Numeric(10, 2, asdecimal=False),
    "word": WORD,
    "text": TEXT,
    "fixed": CHAR(8),
    "data": LargeBinary(),
    "day": Date(),
    "clock": CLOCK,
    "moment": MOMENT,
    "zoned": DateTime(timezone=True),
    "utc": UTCDateTime(),
    "span": Interval(),
    "token": Uuid(),
    "token_text": Uuid(as_uuid=False),
    "token_char": Uuid(native_uuid=False),
    "color": Enum(Color),
    "color_value": Enum(
        Color,
        values_callable=lambda cls: [each.name.lower() for each in cls],
        native_enum=False,
        length=20,
    ),
    "grade": Enum(Grade),
    "style": Enum(Style),
    "mixed": Enum(Mixed),
    "side": Enum("left", "right", name="side"),
    "corner": Enum("north", "south", name="corner", native_enum=False, length=20),
    "document": JSON(),
    "binary_document": JSON().with_variant(JSONB(), "postgresql"),
    "plain_document": JSON(none_as_null=True),
    "pickled": PickleType(),
    "shouted": Shouted(),
    "varied": WORD.with_variant(Shouted(), "postgresql", "sqlite"),
    "numbers": JSON().with_variant(ARRAY(Integer), "postgresql"),
    "address": WORD.with_variant(INET(), "postgresql"),
}
"""The types by the names of their columns."""

DEFAULTS: dict[str, Any] = {
    "flag": True,
    **dict.fromkeys(("small", "number", "big"), 7),
    **dict.fromkeys(("double", "real", "share", "rounded"), 0.5),
    **dict.fromkeys(("weight", "price", "exact", "amount", "loose"), Decimal(2)),
    **dict.fromkeys(("word", "text", "fixed", "shouted", "varied"), "word"),
    "data": b"data",
    "day": date(2024, 2, 29),
    "clock": time(12, 30),
    **dict.fromkeys(("moment",), datetime(2024, 2, 29, 12, 30)),  # noqa: DTZ001
    **dict.fromkeys(("zoned", "utc"), datetime.fromisoformat("2024-02-29T12:30:00+00:00")),
    "span": timedelta(hours=1),
    **dict.fromkeys(("token", "token_char"), UUID(int=7)),
    "token_text": str(UUID(int=7)),
    **dict.fromkeys(("color", "color_value"), Color.RED),
    "grade": Grade.LOW,
    "style": Style.OLD,
    "mixed": Mixed.TEXT,
    "side": "left",
    "corner": "north",
    "document": {"a": [1]},
    "binary_document": {"a": [1]},
    "plain_document": {"a": [1]},
    "pickled": {"a": [1]},
    "numbers": [1],
    "address": "10.0.0.1",
}


def column(kind: str, *arguments: Any, nullable: bool = False, **options: Any) -> MappedColumn[Any]:
    """Return a column of a type, which the strategies of values find by ``info``."""
    return mapped_column(
        TYPES[kind],
        *arguments,
        nullable=nullable,
        default=None if nullable else lambda: DEFAULTS[kind],
        info={"kind": kind},
        **options,
    )


class AllColumns:
    """``word`` takes no NULL, and ``maybe_word`` does, and so on."""


for _kind in TYPES:
    setattr(AllColumns, _kind, column(_kind))
    setattr(AllColumns, f"maybe_{_kind}", column(_kind, nullable=True))
