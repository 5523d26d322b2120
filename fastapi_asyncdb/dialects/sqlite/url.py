"""SQLite URLs, for aiosqlite."""

from __future__ import annotations

from sqlalchemy import URL

from fastapi_asyncdb.dialects.parts import (
    Converter,
    decode,
    one_of,
    refuse_unknown,
    seconds,
    split_query,
    take,
    whole,
)
from fastapi_asyncdb.dialects.target import Target
from fastapi_asyncdb.errors import InvalidDatabaseURL

# https://docs.python.org/3/library/sqlite3.html#sqlite3.connect
_ARGUMENTS: dict[str, Converter] = {
    "timeout": seconds,
    "detect_types": whole,
    "cached_statements": whole,
}
# Decided by the form of the path, and by aiosqlite, which gives each connection its own thread.
_DECIDED: dict[str, Converter] = {
    "uri": one_of("true", "false", "1", "0"),
    "check_same_thread": one_of("true", "false", "1", "0"),
}
# https://sqlite.org/c3ref/open.html#urifilenamesinsqlite3open
_URI_PARAMETERS: dict[str, Converter] = {
    "mode": one_of("ro", "rw", "rwc", "memory"),
    "cache": one_of("shared", "private"),
    "immutable": one_of("1", "0"),
    "nolock": one_of("1", "0"),
    "psow": one_of("1", "0"),
}


def plain_url(drivername: str, rest: str) -> URL:
    """Write everything into the query of the URL, for an engine that is made of nothing else."""
    target = for_aiosqlite(drivername, rest)
    return target.url.update_query_dict(
        {name: str(arg) for name, arg in target.connect_args.items()}
    )


def for_aiosqlite(drivername: str, rest: str) -> Target:
    """Take the path and the driver's own parameters; there is no host."""
    path, _, query_text = rest.partition("?")
    if path and not path.startswith("/"):
        raise InvalidDatabaseURL(
            "A SQLite URL names a file, no host: sqlite:///./relative.db has three slashes, "
            "sqlite:////absolute/path.db has four."
        )
    path = path.removeprefix("/")
    # What SQLite reads as a URI is decoded by SQLite: https://sqlite.org/uri.html
    database = path if path.startswith("file:") else decode(path)
    query = split_query(query_text)
    arguments = take(query, _ARGUMENTS)
    take(query, _DECIDED)
    options: dict[str, str] = {}
    if database.startswith("file:"):
        options = take(query, _URI_PARAMETERS) | {"uri": "true"}
    refuse_unknown(
        query,
        drivername,
        f"A plain path has {', '.join(_ARGUMENTS)}; SQLite's own {', '.join(_URI_PARAMETERS)} belong "
        "to a file URI: sqlite:///file:app.db?mode=ro.",
    )
    url = URL.create(drivername, database=database or ":memory:", query=options)
    return Target(url, arguments)
