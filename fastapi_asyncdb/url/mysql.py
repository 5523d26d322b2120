"""MySQL and MariaDB URLs, for aiomysql and asyncmy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast, get_args

from sqlalchemy import URL

from fastapi_asyncdb.errors import InvalidDatabaseURL
from fastapi_asyncdb.url.parts import number, refuse_unknown, split
from fastapi_asyncdb.url.target import TLS, Target, TLSMode

# https://dev.mysql.com/doc/refman/en/connection-options.html#option_general_ssl-mode
_MYSQL_MODES: dict[str, TLSMode] = {
    "disabled": "disable",
    "preferred": "prefer",
    "required": "require",
    "verify_ca": "verify-ca",
    "verify_identity": "verify-full",
    # Prisma's sslaccept, and the ssl={"rejectUnauthorized":true} of Node's drivers.
    "strict": "verify-full",
    "accept_invalid_certs": "require",
    '{"rejectunauthorized":true}': "verify-full",
    '{"rejectunauthorized":false}': "require",
    "true": "require",
    "1": "require",
    "false": "disable",
    "0": "disable",
}
_MYSQL_ARGUMENTS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "connect_timeout": ("connect_timeout", int),
    "charset": ("charset", str),
    "unix_socket": ("unix_socket", str),
    "socket": ("unix_socket", str),
    "init_command": ("init_command", str),
    "sql_mode": ("sql_mode", str),
}


def for_aiomysql(drivername: str, rest: str) -> Target:
    """Translate for aiomysql and asyncmy, which take the same arguments."""
    parts = split(rest)
    if len(parts.hosts) > 1:
        raise InvalidDatabaseURL("MySQL drivers connect to one host; the database URL has several.")
    host, port = parts.hosts[0] if parts.hosts else (None, None)
    query = {name.replace("-", "_").lower(): value for name, value in parts.query.items()}
    tls = _mysql_tls(query)
    arguments: dict[str, Any] = {}
    for name in list(query):
        if name in _MYSQL_ARGUMENTS:
            argument, convert = _MYSQL_ARGUMENTS[name]
            arguments[argument] = number(name, query.pop(name), convert)
    refuse_unknown(query, frozenset(), drivername)
    url = URL.create(drivername, parts.user, parts.password, host, port, parts.database)
    where = arguments.get("unix_socket", host)
    return Target(url, arguments, () if where is None else (str(where),), tls)


def _mysql_tls(query: dict[str, str]) -> TLS:
    names = ("ssl_mode", "sslmode", "sslaccept", "ssl")
    asked = [value for name in names if (value := query.pop(name, None)) is not None]
    word = asked[0].replace(" ", "").lower() if asked else "preferred"
    if word not in _MYSQL_MODES and word not in get_args(TLSMode):
        raise InvalidDatabaseURL(
            "The database URL asks for an unknown TLS mode. Use ssl-mode=VERIFY_IDENTITY, "
            "VERIFY_CA, REQUIRED, PREFERRED or DISABLED."
        )
    return TLS(
        mode=_MYSQL_MODES.get(word) or cast(TLSMode, word),
        root_cert=query.pop("ssl_ca", None) or query.pop("sslrootcert", None),
        cert=query.pop("ssl_cert", None),
        key=query.pop("ssl_key", None),
    )
