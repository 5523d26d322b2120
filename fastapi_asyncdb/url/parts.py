"""Splits and decodes the text of a server URL. Knows no driver."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

from fastapi_asyncdb.errors import InvalidDatabaseURL

Host = tuple[str, int | None]
"""A name, address or socket directory, and a port."""


@dataclass(slots=True)
class Parts:
    """A server URL in its parts, decoded."""

    user: str | None
    password: str | None = field(repr=False)
    hosts: list[Host]
    database: str | None
    query: dict[str, str]


_HOST = r"(?:\[[^\]/?@]*\]|[^:,/?@\[\]]*)(?::\d*)?"
_HOST_LIST = re.compile(rf"{_HOST}(?:,{_HOST})*\Z")


def split(rest: str) -> Parts:
    """Split what stands behind ``://``; user, password and database may also stand in the query."""
    userinfo, hostlist, tail = _split_authority(rest)
    path, _, query_text = tail.partition("?")
    query = dict(parse_qsl(query_text, keep_blank_values=True))
    user, colon, password = userinfo.partition(":")
    return Parts(
        user=unquote(user) if user else query.pop("user", None),
        password=unquote(password) if colon else query.pop("password", None),
        hosts=[split_host(item) for item in hostlist.split(",") if item],
        database=unquote(path.removeprefix("/")) or query.pop("dbname", None),
        query=query,
    )


def _split_authority(rest: str) -> tuple[str, str, str]:
    """Split into user info, host list and tail, after RFC 3986 (section 3.2) if that makes sense."""
    authority = _before_path(rest)
    userinfo, _, hostlist = authority.rpartition("@")
    if _HOST_LIST.match(hostlist):
        return userinfo, hostlist, rest[len(authority) :]
    # A password with a raw "/" or "?" in it: the hosts stand behind the last "@" that hosts follow.
    for at in reversed(list(re.finditer("@", rest))):
        hostlist = _before_path(rest[at.end() :])
        if hostlist and _HOST_LIST.match(hostlist):
            return rest[: at.start()], hostlist, rest[at.end() + len(hostlist) :]
    raise InvalidDatabaseURL(
        "The host or port in the database URL cannot be read. A port is a number, an IPv6 address "
        "stands in brackets, and '/', '?' or '#' in a password are written %2F, %3F, %23."
    )


def _before_path(text: str) -> str:
    return re.split(r"[/?]", text, maxsplit=1)[0]


def split_host(item: str) -> Host:
    """Split ``host:port``, ``[::1]:port`` or a bare host."""
    host, _, port = item.rpartition(":") if re.search(r":\d*\Z", item) else (item, "", "")
    if port and not 0 < int(port) < 65536:
        raise InvalidDatabaseURL("The port in the database URL is out of range: use 1 to 65535.")
    return unquote(host.strip("[]")), int(port) if port else None


def number(name: str, value: str, convert: Callable[[str], Any]) -> Any:
    """Convert the value of a URL parameter."""
    try:
        return convert(value)
    except ValueError:
        pass
    raise InvalidDatabaseURL(f"The parameter {name!r} in the database URL is not a number.")


def refuse_unknown(query: dict[str, str], ignored: frozenset[str], drivername: str) -> None:
    """Refuse what is left over: a parameter ignored in silence is a setting believed in vain."""
    unknown = sorted(query.keys() - ignored)
    if unknown:
        raise InvalidDatabaseURL(
            f"{drivername} has no URL parameter {', '.join(map(repr, unknown))}. Remove it, or send "
            "a server setting as options=-c%20name%3Dvalue."
        )
