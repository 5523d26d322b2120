"""URLs of any class as secret text."""

from __future__ import annotations

import json
import re
from typing import Protocol, runtime_checkable
from urllib.parse import quote

from pydantic import SecretStr
from sqlalchemy import URL

_BETWEEN_URLS = re.compile(r",(?=\s*[A-Za-z][\w+.-]*://|\s*$)")


@runtime_checkable
class _PydanticURL(Protocol):
    """``PostgresDsn``, ``AnyUrl`` and others: Pydantic 2 has no base class for all of them."""

    def unicode_string(self) -> str: ...


def secret_url(url: object) -> object:
    """Wrap the text of a URL of any class; return any other value as it is, for validation."""
    if isinstance(url, URL):
        return SecretStr(render(url))
    return SecretStr(str(url)) if isinstance(url, str | _PydanticURL) else url


def masked_urls(urls: object) -> object:
    """Wrap the text of several URLs, or each of a sequence; return any other value as it is."""
    if isinstance(urls, list | tuple):
        return [secret_url(url) for url in urls]
    return secret_url(urls)


def split_urls(text: SecretStr) -> object:
    """Split a text with commas between URLs, or JSON.

    A comma inside of a URL, between its hosts, has no scheme after it.

    Raises:
        ValueError: it begins like JSON, and is none.
    """
    plain = text.get_secret_value().strip()
    if plain.startswith("["):
        try:
            return masked_urls(json.loads(plain))
        except ValueError:
            # Its message would quote the text.
            raise ValueError("is not JSON, although it begins with '['") from None
    return [SecretStr(url) for part in _BETWEEN_URLS.split(plain) if (url := part.strip())]


def render(url: URL) -> str:
    """Return the text of a URL object, with the database name quoted.

    SQLAlchemy 2.0 leaves it unquoted, so that "?" and "%" in it change their meaning.
    """
    server = URL.create(url.drivername, url.username, url.password, url.host, url.port)
    query = URL.create("query", query=url.query).render_as_string().removeprefix("query://")
    database = "" if url.database is None else f"/{quote(url.database, safe='')}"
    return server.render_as_string(hide_password=False) + database + query
