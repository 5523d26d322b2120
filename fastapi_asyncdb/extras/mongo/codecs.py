"""How values are stored: aware datetimes, standard UUIDs, ``Decimal`` as Decimal128."""

from __future__ import annotations

from datetime import UTC
from decimal import Decimal
from typing import Any

from bson.binary import UuidRepresentation
from bson.codec_options import CodecOptions, TypeCodec, TypeRegistry
from bson.decimal128 import Decimal128


class _DecimalCodec(TypeCodec):
    """Python's ``Decimal`` as BSON's Decimal128, which has 34 digits."""

    @property
    def python_type(self) -> type[Decimal]:
        return Decimal

    @property
    def bson_type(self) -> type[Decimal128]:
        return Decimal128

    def transform_python(self, value: Decimal) -> Decimal128:
        return Decimal128(value)

    def transform_bson(self, value: Decimal128) -> Decimal:
        return value.to_decimal()


CODEC_OPTIONS: CodecOptions[dict[str, Any]] = CodecOptions(
    tz_aware=True,
    tzinfo=UTC,
    uuid_representation=UuidRepresentation.STANDARD,
    type_registry=TypeRegistry([_DecimalCodec()]),
)
