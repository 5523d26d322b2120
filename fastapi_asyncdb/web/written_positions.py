"""``WrittenPositions``: positions in the log as signed text, which a client keeps for a while."""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence

from fastapi_asyncdb.engine.client_writes import NOTHING, UNKNOWN
from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.signatures import Secret, SignedText, secret_bytes

_PAYLOAD = struct.Struct(">QQ")
"""Seconds since 1970, and a position."""
_UNKNOWN = 2**64 - 1
_SHORTEST_SECRET = 16
"""Bytes. NIST asks for a key of 112 bits at least: https://csrc.nist.gov/pubs/sp/800/224/ipd"""


class WrittenPositions:
    """Writes positions as signed text, and reads those that are not too old.

    Args:
        binding: What the text belongs to: that of another one is not read.
        secrets: The first one signs; text that any of them has signed is read.
        max_age: Seconds for which a text is read.

    Raises:
        ConfigurationError: there is no secret, or one is too short.
    """

    def __init__(self, binding: str, secrets: Sequence[Secret], max_age: int) -> None:
        if not secrets:
            raise ConfigurationError(_NO_SECRET)
        keys = [secret_bytes(secret, _SHORTEST_SECRET, _NO_SECRET) for secret in secrets]
        self._text = SignedText(f"written position\0{binding}".encode(), keys)
        self._max_age = max_age
        self._length = len(self.write(0))

    def write(self, position: float) -> str:
        """Return the text for a position of now."""
        number = _UNKNOWN if position == UNKNOWN else int(position)
        return self._text.write(_PAYLOAD.pack(int(time.time()), number))

    def read(self, text: bytes) -> float:
        """Return the position; ``NOTHING`` for any text that was not written here, or is too old.

        The time is signed too: with an old text a client would read from the primary for ever.
        """
        if len(text) != self._length:
            return NOTHING
        try:
            written, number = _PAYLOAD.unpack(self._text.read(text))
        except (ValueError, struct.error):
            return NOTHING
        # The clock of another process may be ahead of this one's.
        if abs(time.time() - written) > self._max_age:
            return NOTHING
        return UNKNOWN if number == _UNKNOWN else number


_NO_SECRET = (
    f"The secret of install_read_your_writes() is missing, or has fewer than {_SHORTEST_SECRET} bytes: "
    "clients could make up what it signs. Take one from the settings of the application, the same in "
    "all of its processes, as 'python -c \"import secrets; print(secrets.token_urlsafe())\"' prints it."
)
