"""The text of cursors, which a client keeps and sends back."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from fastapi_asyncdb.errors import ConfigurationError, InvalidCursor
from fastapi_asyncdb.signatures import Secret, SignedText, secret_bytes

MAX_LENGTH = 4096
"""The characters of a cursor, which has to fit into the URL of a request."""

T = TypeVar("T")


class SealedText:
    """Writes bytes as the text of a cursor, and reads them again.

    Args:
        binding: What the text belongs to: another one has other digests.
        secret: Signs the text; without one it has a checksum.

    Raises:
        ConfigurationError: the secret is empty.
    """

    def __init__(self, binding: bytes, secret: Secret | None) -> None:
        empty = "The secret of the cursors is empty. Set one, or leave it out."
        self._text = SignedText(
            binding, [b"" if secret is None else secret_bytes(secret, 1, empty)]
        )

    def write(self, payload: bytes) -> str:
        """Return the text.

        Raises:
            ConfigurationError: it does not fit into a URL.
        """
        text = self._text.write(payload)
        if len(text) > MAX_LENGTH:
            raise ConfigurationError(
                f"A cursor of {len(text)} characters does not fit into a URL: the value of an ordering "
                "key is too long. Order by a shorter column."
            )
        return text

    def read(self, text: str, parse: Callable[[bytes], T]) -> T:
        """Return what ``parse`` makes of the bytes that were written.

        Args:
            text: From a client.
            parse: Raises an error for bytes that it cannot read.

        Raises:
            InvalidCursor: the text was not written here, or belongs elsewhere, or cannot be parsed.
        """
        try:
            return parse(self._payload(text))
        except (ValueError, TypeError, ArithmeticError, LookupError, RecursionError):
            # Without the cause, whose message may have the values of a row.
            raise InvalidCursor(
                "The cursor is damaged, or belongs to another query or ordering. Start again at the "
                "first page, without a cursor."
            ) from None

    def _payload(self, text: str) -> bytes:
        if len(text) > MAX_LENGTH:
            raise ValueError
        return self._text.read(text.encode("ascii"))
