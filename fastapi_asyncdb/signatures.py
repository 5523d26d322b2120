"""``SignedText``: bytes that a client keeps and sends back as text, which it cannot make up."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Sequence

from pydantic import SecretStr

from fastapi_asyncdb.errors import ConfigurationError

Secret = str | bytes | SecretStr

_DIGEST = 16


class SignedText:
    """Writes bytes as text that fits into a URL, with a digest, and reads them again.

    Args:
        binding: What the text belongs to: another one has other digests.
        secrets: The first one signs; text that any of them has signed is read. An empty one makes the
            digest a checksum.
    """

    def __init__(self, binding: bytes, secrets: Sequence[bytes]) -> None:
        self._binding = binding
        self._secrets = tuple(secrets)

    def write(self, payload: bytes) -> str:
        """Return the text."""
        signed = self._digest(self._secrets[0], payload) + payload
        return base64.urlsafe_b64encode(signed).rstrip(b"=").decode()

    def read(self, text: bytes) -> bytes:
        """Return the bytes that were written; the caller bounds the length of the text.

        Raises:
            ValueError: the text was not written here, or belongs elsewhere.
        """
        raw = base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
        digest, payload = raw[:_DIGEST], raw[_DIGEST:]
        for secret in self._secrets:
            if hmac.compare_digest(digest, self._digest(secret, payload)):
                return payload
        raise ValueError

    def _digest(self, secret: bytes, payload: bytes) -> bytes:
        return hmac.digest(secret, self._binding + b"\0" + payload, "sha256")[:_DIGEST]


def secret_bytes(secret: Secret, shortest: int, refusal: str) -> bytes:
    """Return a secret as bytes.

    Args:
        secret: The secret.
        shortest: How many bytes it has at least.
        refusal: What to say if it has fewer.

    Raises:
        ConfigurationError: it is too short.
    """
    value = secret.get_secret_value() if isinstance(secret, SecretStr) else secret
    value = value.encode() if isinstance(value, str) else value
    if len(value) < shortest:
        raise ConfigurationError(refusal)
    return value
