"""The parts of a server's URL, split and decoded, and converters for its parameters."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

from fastapi_asyncdb.dialects.target import Masked
from fastapi_asyncdb.errors import InvalidDatabaseURL

Host = tuple[str, int | None]
"""A name, address or socket directory, and a port."""

Converter = Callable[[str, str], Any]
"""Makes a driver's argument from the name and the value of a URL parameter."""


@dataclass(slots=True)
class Parts:
    """A server URL in its parts, decoded."""

    user: str | None
    password: str | None = field(repr=False)
    hosts: list[Host]
    database: str | None
    query: dict[str, str] = field(repr=False)


def split(rest: str) -> Parts:
    """Split the text behind ``://``. As in libpq, the query may name user, password and database."""
    userinfo, hostlist, tail = _split_authority(rest)
    path, _, query_text = tail.partition("?")
    query = split_query(query_text)
    user, colon, password = userinfo.partition(":")
    written = query.pop("password", decode(password) if colon else None)
    return Parts(
        user=query.pop("user", None) or decode(user) or None,
        password=None if written is None else Masked(written),
        hosts=[split_host(item) for item in hostlist.split(",") if item],
        database=query.pop("dbname", None) or decode(path.removeprefix("/")) or None,
        query=query,
    )


def split_query(text: str) -> dict[str, str]:
    """Split and decode parameters. Repeated hosts and ports make a list, other repetitions win."""
    query: dict[str, str] = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        together = name in query and name in ("host", "port")
        query[name] = f"{query[name]},{value}" if together else value
    return query


def decode(text: str) -> str:
    """Decode percent-encoding, unless the text as a whole cannot have any: a raw ``100%ff``."""
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        return text


# --- Authority ------------------------------------------------------------------------------------

_HOST = r"(?:\[[^][/?@,]*\]|[\w.%~-]*)(?::[0-9]*)?"
_HOST_LIST = re.compile(rf"{_HOST}(?:,{_HOST})*")
# A raw "@" behind the host can only belong to the value of a parameter.
_PARAMETER = r"[^@&=]*(?:=[^&]*)?"
_TAIL = re.compile(rf"[^?@]*(?:\?{_PARAMETER}(?:&{_PARAMETER})*)?")


def _split_authority(rest: str) -> tuple[str, str, str]:
    """Split into user info, host list and tail, after RFC 3986 (section 3.2) if that makes sense."""
    authority = _before_path(rest)
    userinfo, _, hostlist = authority.rpartition("@")
    tail = rest[len(authority) :]
    if not _HOST_LIST.fullmatch(hostlist):
        return _split_raw_password(rest)
    if not _TAIL.fullmatch(tail):
        raise InvalidDatabaseURL(
            "The database URL can be read in two ways, because an '@' follows its first '/' or '?'. "
            "In user, password and database name write '@' as %40, '/' as %2F and '?' as %3F."
        )
    return userinfo, hostlist, tail


def _split_raw_password(rest: str) -> tuple[str, str, str]:
    """Split where the password contains a raw ``/`` or ``?``: at the first ``@`` that hosts follow."""
    for at in re.finditer("@", rest):
        hostlist = _before_path(rest[at.end() :])
        tail = rest[at.end() + len(hostlist) :]
        if hostlist and _HOST_LIST.fullmatch(hostlist) and _TAIL.fullmatch(tail):
            return rest[: at.start()], hostlist, tail
    raise InvalidDatabaseURL(
        "The host or port in the database URL cannot be read. A port is a number, an IPv6 address "
        "stands in brackets, and '/', '?' or '#' in a password are written %2F, %3F, %23."
    )


def _before_path(text: str) -> str:
    return re.split(r"[/?]", text, maxsplit=1)[0]


def split_host(item: str) -> Host:
    """Split ``host:port``, ``[::1]:port`` or a bare host; an IPv6 address needs no brackets here."""
    bare_ipv6 = item.count(":") > 1 and not item.startswith("[")
    has_port = not bare_ipv6 and re.search(r":[0-9]*\Z", item)
    host, _, port = item.rpartition(":") if has_port else (item, "", "")
    return decode(host.strip("[]")), read_port(port) if port else None


def read_port(text: str) -> int:
    """Convert a port."""
    if re.fullmatch("[0-9]{1,5}", text) and 0 < int(text) < 65536:
        return int(text)
    raise InvalidDatabaseURL("The port in the database URL is no number from 1 to 65535.")


# --- Parameters -----------------------------------------------------------------------------------


def plain(name: str, value: str) -> str:
    """Take a value as it is."""
    return value


def seconds(name: str, value: str) -> float:
    """Convert a duration."""
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if math.isfinite(number) and number >= 0:
        return number
    raise InvalidDatabaseURL(
        f"The parameter {name!r} in the database URL is not a number of seconds: {name}=10."
    )


def whole(name: str, value: str) -> int:
    """Convert a size or a count."""
    if re.fullmatch("[0-9]{1,9}", value):
        return int(value)
    raise InvalidDatabaseURL(f"The parameter {name!r} in the database URL is not a whole number.")


def flag(name: str, value: str) -> bool:
    """Convert ``true``, ``1``, ``false`` or ``0``, in any case."""
    words = {"true": True, "1": True, "false": False, "0": False}
    if value.lower() in words:
        return words[value.lower()]
    raise InvalidDatabaseURL(
        f"The parameter {name!r} in the database URL is neither true nor false."
    )


def one_of(*words: str) -> Converter:
    """Return a converter that lets only these words pass."""

    def choose(name: str, value: str) -> str:
        if value in words:
            return value
        raise InvalidDatabaseURL(
            f"The parameter {name!r} in the database URL is none of {', '.join(words)}."
        )

    return choose


def take(query: dict[str, str], converters: Mapping[str, Converter]) -> dict[str, Any]:
    """Remove the parameters that have a converter, and return them converted."""
    return {
        name: convert(name, query.pop(name))
        for name, convert in converters.items()
        if name in query
    }


def refuse_unknown(query: dict[str, str], drivername: str, advice: str) -> None:
    """Refuse the other parameters: the user would believe that an ignored setting works."""
    if not query:
        return
    # What looks like a parameter may be the end of a password with a raw "?" in it.
    if any(
        "@" in value or not re.fullmatch(r"[\w.-]{1,40}", name) for name, value in query.items()
    ):
        raise InvalidDatabaseURL(
            "What follows the '?' in the database URL cannot be read as name=value&name=value. "
            "In user and password write '?' as %3F, '@' as %40 and '/' as %2F."
        )
    names = ", ".join(map(repr, sorted(query)))
    raise InvalidDatabaseURL(f"{drivername} has no URL parameter {names}. {advice}")
