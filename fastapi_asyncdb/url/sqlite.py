"""SQLite URLs, for aiosqlite."""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote

from sqlalchemy import URL

from fastapi_asyncdb.errors import InvalidDatabaseURL
from fastapi_asyncdb.url.target import Target


def for_aiosqlite(drivername: str, rest: str) -> Target:
    """Take the path and the driver's own parameters; there is no host."""
    authority, slash, path = rest.partition("/")
    if authority.partition("?")[0]:
        raise InvalidDatabaseURL(
            "A SQLite URL names a file, no host: sqlite:///./relative.db has three slashes, "
            "sqlite:////absolute/path.db has four."
        )
    path, _, query_text = (path if slash else rest).partition("?")
    query = dict(parse_qsl(query_text, keep_blank_values=True))
    # What SQLite reads as a URI is decoded by SQLite: https://sqlite.org/uri.html
    database = path if path.startswith("file:") else unquote(path)
    return Target(URL.create(drivername, database=database or ":memory:", query=query))
