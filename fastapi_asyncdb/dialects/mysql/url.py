"""MySQL and MariaDB URLs, for asyncmy and aiomysql."""

from __future__ import annotations

from typing import cast, get_args

from sqlalchemy import URL

from fastapi_asyncdb.dialects.parts import Converter, plain, refuse_unknown, split, take, whole
from fastapi_asyncdb.dialects.target import TLS, Target, TLSMode
from fastapi_asyncdb.errors import InvalidDatabaseURL

# https://dev.mysql.com/doc/refman/en/connection-options.html#option_general_ssl-mode
_MODES: dict[str, TLSMode] = {
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
_ARGUMENTS: dict[str, Converter] = {
    "charset": plain,
    "unix_socket": plain,
    "init_command": plain,
    "sql_mode": plain,
}
# ClearDB's URLs have it; the pool replaces lost connections.
_IGNORED: dict[str, Converter] = {"reconnect": plain}


def for_mysql(drivername: str, rest: str) -> Target:
    """Translate for asyncmy and aiomysql, which take the same arguments."""
    parts = split(rest)
    if len(parts.hosts) > 1:
        raise InvalidDatabaseURL("MySQL drivers connect to one host; the database URL has several.")
    host, port = parts.hosts[0] if parts.hosts else ("", None)
    query = {name.replace("-", "_").lower(): value for name, value in parts.query.items()}
    if "socket" in query:
        query["unix_socket"] = query.pop("socket")
    tls = _tls(query)
    arguments = take(query, _ARGUMENTS)
    timeout = take(query, {"connect_timeout": whole}).get("connect_timeout")
    take(query, _IGNORED)
    refuse_unknown(query, drivername, "Remove it.")
    url = URL.create(drivername, parts.user, parts.password, host or None, port, parts.database)
    where = arguments.get("unix_socket", host)
    return Target(url, arguments, (where,) if where else (), tls, timeout)


def _tls(query: dict[str, str]) -> TLS:
    asked = [query.pop(name, "") for name in ("ssl_mode", "sslmode", "sslaccept", "ssl")]
    root_cert = query.pop("ssl_ca", None) or query.pop("sslrootcert", None)
    word = next(filter(None, asked), "").replace(" ", "").lower() or _mode_of_flags(
        query, root_cert
    )
    if word not in _MODES and word not in get_args(TLSMode):
        raise InvalidDatabaseURL(
            "The database URL asks for an unknown TLS mode. Use ssl-mode=VERIFY_IDENTITY, "
            "VERIFY_CA, REQUIRED, PREFERRED or DISABLED."
        )
    return TLS(
        mode=_MODES.get(word) or cast(TLSMode, word),
        root_cert=root_cert,
        cert=query.pop("ssl_cert", None),
        key=query.pop("ssl_key", None),
    )


def _mode_of_flags(query: dict[str, str], root_cert: str | None) -> TLSMode:
    """Return what PyMySQL's flags ask for, and MySQL's own rule that authorities imply VERIFY_CA."""
    if query.pop("ssl_verify_identity", "").lower() in ("true", "1"):
        query.pop("ssl_verify_cert", None)
        return "verify-full"
    if query.pop("ssl_verify_cert", "").lower() in ("true", "1") or root_cert is not None:
        return "verify-ca"
    return "prefer"
