"""Cursors of pages: a position in the order of stored values, and the filter of what comes after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from bson import Decimal128, ObjectId, json_util

from fastapi_asyncdb.data.pages.sealed import SealedText
from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.extras.mongo.filters import Keys
from fastapi_asyncdb.signatures import Secret

_CARRIED = (type(None), bool, int, float, str, datetime, Decimal, UUID, ObjectId)
_JSON = json_util.JSONOptions(
    json_mode=json_util.JSONMode.CANONICAL,
    tz_aware=True,
    uuid_representation=4,
)


class MongoCursors:
    """Writes and reads the cursors of one ordering.

    Args:
        collection: A cursor belongs to a collection,
        keys: and to an ordering.
        secret: Signs the cursors; without one they have a checksum.
    """

    def __init__(self, collection: str, keys: Keys, secret: Secret | None) -> None:
        self._keys = keys
        self._text = SealedText(json_util.dumps(["mongo", collection, keys]).encode(), secret)

    def write(self, document: Mapping[str, Any], *, backwards: bool) -> str:
        """Return the cursor of the documents after a document, or before it."""
        values = [document.get(name) for name, _ in self._keys]
        if any(type(value) not in _CARRIED for value in values):
            raise ConfigurationError(
                "A cursor cannot carry a value that a document is ordered by: it is a list, a "
                "nested document or binary data. Order by another attribute."
            )
        carried = [Decimal128(each) if isinstance(each, Decimal) else each for each in values]
        payload = json_util.dumps([int(backwards), *carried], json_options=_JSON)
        return self._text.write(payload.encode())

    def read(self, cursor: str) -> tuple[bool, list[Any]]:
        """Return whether the page comes before the position, and the values of the position.

        Raises:
            InvalidCursor: the cursor is none, has another signature, or is of another ordering.
        """
        return self._text.read(cursor, self._parse)

    def _parse(self, payload: bytes) -> tuple[bool, list[Any]]:
        backwards, *carried = json_util.loads(payload.decode(), json_options=_JSON)
        values = [
            each.to_decimal()
            if isinstance(each, Decimal128)
            else int(each)
            if _is_long(each)
            else each
            for each in carried
        ]
        # A client may have made it: no expression, no text of code.
        is_plain = all(type(value) in _CARRIED for value in values)
        if int(backwards) not in (0, 1) or len(values) != len(self._keys) or not is_plain:
            raise ValueError
        return bool(backwards), values


def _is_long(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def reverse(keys: Keys) -> Keys:
    """Return the opposite order."""
    return [(name, -direction) for name, direction in keys]


def after(keys: Keys, values: Sequence[Any]) -> dict[str, Any]:
    """Return the filter of what comes after a position.

    MongoDB sorts missing values and null before all others, and compares only values of one type:
    https://www.mongodb.com/docs/manual/reference/bson-type-comparison-order/
    """
    ranges: list[dict[str, Any]] = []
    equal: list[dict[str, Any]] = []
    for (name, direction), value in zip(keys, values, strict=True):
        further = _further(name, direction, value)
        if further is not None:
            ranges.append({"$and": [*equal, further]})
        equal.append({name: {"$eq": value}})
    return {"$or": ranges}


def _further(name: str, direction: int, value: Any) -> dict[str, Any] | None:
    if direction > 0:
        return {name: {"$ne": None}} if value is None else {name: {"$gt": value}}
    if value is None:
        return None
    return {"$or": [{name: {"$lt": value}}, {name: {"$eq": None}}]}
