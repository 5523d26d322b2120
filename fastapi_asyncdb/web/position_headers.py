"""``PositionHeaders``: the headers of HTTP with the position of what a client has written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from http.cookies import CookieError
from itertools import islice
from typing import Literal, TypedDict

from starlette.responses import Response

from fastapi_asyncdb.engine.client_writes import NOTHING
from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.signatures import Secret
from fastapi_asyncdb.web.written_positions import WrittenPositions

Headers = Iterable[tuple[bytes, bytes]]
"""As ASGI has them."""

_MOST = 4
"""How many texts of a request are read: a cookie may have been set for several paths."""
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A name: https://www.rfc-editor.org/rfc/rfc9110#name-tokens"""


class CookieOptions(TypedDict, total=False):
    """Where a client sends a cookie, as in Starlette's ``Response.set_cookie()``."""

    path: str
    """``/`` by default."""
    domain: str | None
    """By default the host of the request, without its subdomains."""
    secure: bool
    """Over HTTPS only; by default if the request has come so."""
    samesite: Literal["lax", "strict", "none"]
    """``lax`` by default."""


class PositionHeaders:
    """Reads positions from the headers of a request, and writes one into those of a response.

    Args:
        secrets: As for ``WrittenPositions``.
        cookie: The name of the cookie, if there is to be one.
        header: The name of the header, if there is to be one.
        max_age: Seconds for which a position counts.
        options: Of the cookie.

    Raises:
        ConfigurationError: an argument is invalid.
    """

    def __init__(
        self,
        secrets: Sequence[Secret],
        cookie: str | None,
        header: str | None,
        max_age: int,
        options: CookieOptions,
    ) -> None:
        self.names: tuple[str, ...] = tuple(name for name in (cookie, header) if name is not None)
        """Of what carries the position."""
        if max_age < 1 or not self.names or not all(map(_TOKEN.fullmatch, self.names)):
            raise ConfigurationError(_INVALID)
        self._positions = WrittenPositions(self.names[0], secrets, max_age)
        self._cookie_key = None if cookie is None else cookie.encode()
        self._header = None if header is None else header.lower().encode()
        try:
            self._cookies = () if cookie is None else _around_text(cookie, max_age, options)
        except (AssertionError, CookieError) as error:
            raise ConfigurationError(f"{_INVALID} Starlette says: {error}") from error

    def read(self, headers: Headers) -> float:
        """Return the furthest position of a request; ``NOTHING`` without any that counts."""
        texts = islice(self._texts(headers), _MOST)
        return max((self._positions.read(text) for text in texts), default=NOTHING)

    def write(self, position: float, *, is_secure: bool) -> list[tuple[bytes, bytes]]:
        """Return the headers of a response.

        Args:
            position: What the client has written lies before it.
            is_secure: Whether the request has come over HTTPS.
        """
        text = self._positions.write(position).encode()
        added = [] if self._header is None else [(self._header, text)]
        if self._cookies:
            before, after = self._cookies[is_secure]
            added.append((b"set-cookie", before + text + after))
        return added

    def _texts(self, headers: Headers) -> Iterator[bytes]:
        for name, value in headers:
            if name == self._header:
                yield value
            elif name == b"cookie":
                for pair in value.split(b";"):
                    key, _, text = pair.strip().partition(b"=")
                    if key == self._cookie_key:
                        yield text


def _around_text(
    cookie: str, max_age: int, options: CookieOptions
) -> tuple[tuple[bytes, bytes], tuple[bytes, bytes]]:
    """Return what is before and after the text in a cookie: over HTTP, and over HTTPS.

    Made once: Starlette takes longer for it than the signature takes.
    """

    def halves(*, is_secure: bool) -> tuple[bytes, bytes]:
        chosen: CookieOptions = {"secure": is_secure, **options}
        response = Response()
        response.set_cookie(cookie, "text", max_age=max_age, httponly=True, **chosen)
        before, _, after = response.raw_headers[-1][1].partition(b"=text")
        return before + b"=", after

    return halves(is_secure=False), halves(is_secure=True)


_INVALID = (
    "install_read_your_writes() needs a max_age of at least one second, and a cookie or a header whose "
    "name has letters, digits, and signs such as '-' or '_' only."
)
