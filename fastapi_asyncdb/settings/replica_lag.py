"""How far a replica may be behind: seconds, or bytes of the log."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import ByteSize, PlainValidator, TypeAdapter, ValidationError

_BYTES = TypeAdapter(ByteSize)


def _read(value: object) -> float | ByteSize | None:
    """Return seconds as a ``float``, bytes as a ``ByteSize``.

    Raises:
        ValueError: it is neither, or below 0.
    """
    if value is None or isinstance(value, ByteSize):
        return value
    try:
        seconds = float(value) if isinstance(value, str | int | float) else math.nan
    except ValueError:
        return _bytes_of(value)
    if not 0 <= seconds < math.inf:
        raise ValueError("must be seconds, from 0, or bytes such as 16MB")
    return seconds


def _bytes_of(value: object) -> ByteSize:
    try:
        return _BYTES.validate_python(value)
    except ValidationError:
        raise ValueError("must be seconds, as in 5, or bytes, as in 16MB") from None


ReplicaLag = Annotated[float | ByteSize | None, PlainValidator(_read)]
