"""What is stored: the envelope of a value, and values as JSON. Sends nothing."""

from __future__ import annotations

import hashlib
import math
import random
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

_HEADER = struct.Struct("<BBdd40s")
_FORMAT = 1
STAMP = (19, 58)
"""Where the stamp is, in Lua's numbers."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One stored value."""

    payload: bytes | None
    """JSON; ``None`` says that there is no value."""
    expires: float
    """When, by the clock of the process that has stored it."""
    seconds: float
    """What loading it took."""

    def is_early(self, beta: float) -> bool:
        """Return whether this caller is to load it again, although it has not expired.

        The nearer the end and the slower the loader, the likelier.
        https://cseweb.ucsd.edu/~avattani/papers/cache_stampede.pdf
        """
        left = self.expires - time.time()
        if not beta or left > 40 * self.seconds * beta:  # one in 10^17
            return False
        return left <= -self.seconds * beta * math.log(1.0 - random.random())  # noqa: S311

    def pack(self, stamp: bytes) -> bytes:
        """Return the bytes to store."""
        header = _HEADER.pack(_FORMAT, self.payload is None, self.expires, self.seconds, stamp)
        return header + (self.payload or b"")


def unpack(data: bytes, stamp: bytes) -> Entry | None:
    """Return the entry; ``None`` if it is of another format, or one of its tags has changed."""
    if len(data) < _HEADER.size:
        return None
    form, empty, expires, seconds, found = _HEADER.unpack_from(data)
    if form != _FORMAT or found != stamp:
        return None
    return Entry(None if empty else data[_HEADER.size :], expires, seconds)


def stamp_of(versions: Sequence[bytes]) -> bytes:
    """Return the hash of the versions of the tags, as the scripts compute it."""
    if not versions:
        return _NO_TAGS
    joined = b" ".join(versions)
    return hashlib.sha1(joined, usedforsecurity=False).hexdigest().encode()


_NO_TAGS = hashlib.sha1(b"", usedforsecurity=False).hexdigest().encode()


# --- JSON -----------------------------------------------------------------------------------------


class Values:
    """Values of one type, and their JSON.

    Args:
        model: Any type that pydantic knows.
    """

    MISS: Any = object()
    """What is not of the type."""

    def __init__(self, model: Any) -> None:
        self._adapter: TypeAdapter[Any] = TypeAdapter(model)

    def valid(self, loaded: object) -> Any:
        """Return what a loader has returned as a value of the type, or ``None``.

        Raises:
            pydantic.ValidationError: it is not of the type.
        """
        return (
            None if loaded is None else self._adapter.validate_python(loaded, from_attributes=True)
        )

    def dump(self, value: Any) -> bytes | None:
        """Return a value as JSON; ``None`` for ``None``."""
        return (
            None
            if value is None
            else self._adapter.dump_json(value, by_alias=True, round_trip=True)
        )

    def as_json(self, loaded: object, options: dict[str, Any]) -> Any:
        """Return it as what JSON has, with the options of ``dump_python``."""
        return self._adapter.dump_python(self.valid(loaded), mode="json", **options)

    def load(self, payload: bytes | None) -> Any:
        """Return the value of JSON; ``MISS`` if it is not of the type: the model has changed."""
        if payload is None:
            return None
        try:
            return self._adapter.validate_json(payload)
        except ValidationError:
            return self.MISS


def values_of(model: Any) -> Values:
    """Return the values of a type; those of the same type share what pydantic has built."""
    try:
        return _known(model)
    except TypeError:  # not hashable
        return Values(model)


_known = lru_cache(maxsize=512)(Values)
