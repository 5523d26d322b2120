"""PostgreSQL URLs in libpq's words, for asyncpg and psycopg."""

from __future__ import annotations

from typing import Any, cast, get_args

from sqlalchemy import URL

from fastapi_asyncdb.dialects.parts import (
    Converter,
    Host,
    Parts,
    flag,
    one_of,
    plain,
    read_port,
    refuse_unknown,
    seconds,
    split,
    split_host,
    take,
    whole,
)
from fastapi_asyncdb.dialects.postgresql.server_settings import split_options
from fastapi_asyncdb.dialects.target import TLS, Masked, Target, TLSMode
from fastapi_asyncdb.errors import InvalidDatabaseURL

# The words of https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS
_SESSION_ATTRS = one_of("any", "read-write", "read-only", "primary", "standby", "prefer-standby")
_NEGOTIATION = one_of("postgres", "direct")

# Options of the socket: libpq sets them itself, for asyncpg the dialect does.
_KEEPALIVES: dict[str, Converter] = {
    "keepalives": whole,
    "keepalives_count": whole,
    "keepalives_idle": whole,
    "keepalives_interval": whole,
    "tcp_user_timeout": whole,
}
# Parameters that asyncpg has under the same name.
_ASYNCPG_ARGUMENTS: dict[str, Converter] = {
    "command_timeout": seconds,
    "target_session_attrs": _SESSION_ATTRS,
    "passfile": plain,
    "krbsrvname": plain,
    "gsslib": one_of("gssapi", "sspi"),
    "statement_cache_size": whole,
    "prepared_statement_cache_size": whole,
    "max_cached_statement_lifetime": whole,
    "max_cacheable_statement_size": whole,
    **_KEEPALIVES,
}
# Parameters without a counterpart in asyncpg, which change nothing that is stored or sent.
_ASYNCPG_IGNORES: dict[str, Converter] = {
    "channel_binding": plain,
    "client_encoding": plain,
    "fallback_application_name": plain,
    # asyncpg does not encrypt with GSSAPI, so a demand for that must not be passed over.
    "gssencmode": one_of("disable", "prefer"),
    "load_balance_hosts": plain,
    "sslcompression": plain,
    "sslsni": plain,
}
_PSYCOPG_ARGUMENTS: dict[str, Converter] = {
    "application_name": plain,
    "channel_binding": one_of("disable", "prefer", "require"),
    "client_encoding": plain,
    "connect_timeout": whole,
    "fallback_application_name": plain,
    "gssdelegation": plain,
    "gssencmode": one_of("disable", "prefer", "require"),
    "gsslib": plain,
    "hostaddr": plain,
    "krbsrvname": plain,
    "load_balance_hosts": one_of("disable", "random"),
    "max_protocol_version": plain,
    "min_protocol_version": plain,
    "options": plain,
    "passfile": plain,
    "require_auth": plain,
    "requirepeer": plain,
    "service": plain,
    "servicefile": plain,
    "ssl_max_protocol_version": plain,
    "ssl_min_protocol_version": plain,
    "sslcertmode": plain,
    "sslcompression": plain,
    "sslcrl": plain,
    "sslcrldir": plain,
    "sslnegotiation": _NEGOTIATION,
    "sslsni": plain,
    "target_session_attrs": _SESSION_ATTRS,
    **_KEEPALIVES,
}
# Prisma's, which hosts write into the URLs of their poolers, and their own.
_POOLER: dict[str, Converter] = {
    "pgbouncer": flag,
    # The size and the queue of Prisma's own pool.
    "connection_limit": whole,
    "pool_timeout": whole,
    # Another schema must not be passed over.
    "schema": one_of("public"),
    "supa": plain,
}
_ADVICE = "Remove it, or send a setting of the server as options=-c%20name%3Dvalue."


def for_asyncpg(drivername: str, rest: str) -> Target:
    """Translate everything for asyncpg, which knows libpq's parameters only inside its own DSN."""
    parts = split(rest)
    hosts = _hosts(parts)
    query = parts.query
    tls = _tls(query)
    pooled = take(query, _POOLER).get("pgbouncer")
    arguments = _direct_tls(query, tls) | take(query, _ASYNCPG_ARGUMENTS)
    # "timeout" is asyncpg's own word.
    timeouts = take(query, {"timeout": seconds, "connect_timeout": seconds})
    settings, others = split_options(query.pop("options", ""))
    settings |= {"options": others} if others else {}
    settings |= take(query, {"application_name": plain})
    if settings:
        arguments["server_settings"] = settings
    take(query, _ASYNCPG_IGNORES)
    refuse_unknown(query, drivername, _ADVICE)
    return Target(
        _url(drivername, parts, hosts),
        arguments,
        _names(hosts),
        tls,
        timeouts.get("connect_timeout", timeouts.get("timeout")),
        pooled,
    )


def for_psycopg(drivername: str, rest: str) -> Target:
    """Check libpq's own parameters, and pass them on: psycopg hands them to libpq."""
    parts = split(rest)
    hosts = _hosts(parts)
    query = parts.query
    tls = _tls(query)
    _direct_tls(dict(query), tls)
    pooled = take(query, _POOLER).get("pgbouncer")
    arguments = take(query, _PSYCOPG_ARGUMENTS)
    refuse_unknown(query, drivername, _ADVICE)
    timeout = arguments.pop("connect_timeout", None)
    names = _names(hosts)
    # Both lead elsewhere than the host says.
    names += tuple(str(arguments[name]) for name in ("hostaddr", "service") if name in arguments)
    return Target(_url(drivername, parts, hosts), arguments, names, tls, timeout, pooled)


# --- Hosts ----------------------------------------------------------------------------------------


def _hosts(parts: Parts) -> list[Host]:
    """Take hosts and ports from the query as well, where cloud providers put socket directories."""
    named = parts.query.pop("host", None) or parts.query.pop("unix_sock", None)
    hosts = [_query_host(name) for name in named.split(",")] if named else parts.hosts
    ports = [read_port(port) if port else None for port in _listed(parts.query.pop("port", ""))]
    if named and not ports and any(port for _, port in parts.hosts):
        ports = [port for _, port in parts.hosts]
    if ports:
        hosts = hosts or [("", None)]
        ports = ports * len(hosts) if len(ports) == 1 else ports
        if len(ports) != len(hosts):
            raise InvalidDatabaseURL(
                "The database URL has more ports than hosts, or fewer: give one for all, or each."
            )
        pairs = zip(hosts, ports, strict=True)
        hosts = [(host, port or own_port) for (host, own_port), port in pairs]
    if len(hosts) > 1 and not all(host for host, _ in hosts):
        raise InvalidDatabaseURL("One of the hosts in the database URL has no name.")
    return hosts


def _listed(text: str) -> list[str]:
    return text.split(",") if text else []


def _query_host(name: str) -> Host:
    # A directory may have a colon, as in /cloudsql/project:region:instance, and is no host with a port.
    return (name, None) if name.startswith("/") else split_host(name)


def _names(hosts: list[Host]) -> tuple[str, ...]:
    return tuple(host for host, _ in hosts if host)


def _url(drivername: str, parts: Parts, hosts: list[Host]) -> URL:
    """Put one host where a URL has it, and a socket directory or several hosts into the query."""
    one = hosts[0] if len(hosts) == 1 and not hosts[0][0].startswith("/") else (None, None)
    query = {}
    if hosts and one[0] is None:
        query["host"] = ",".join(host for host, _ in hosts)
        if len(hosts) > 1 or hosts[0][1]:
            query["port"] = ",".join(str(port or 5432) for _, port in hosts)
    return URL.create(
        drivername,
        username=parts.user,
        password=parts.password,
        host=one[0] or None,
        port=one[1],
        database=parts.database,
        query=query,
    )


# --- TLS ------------------------------------------------------------------------------------------


def _tls(query: dict[str, str]) -> TLS:
    mode = query.pop("sslmode", "") or _flag_to_mode(query.pop("ssl", ""))
    query.pop("ssl", None)
    if mode not in get_args(TLSMode):
        raise InvalidDatabaseURL(
            f"The database URL asks for an unknown sslmode. Use one of {', '.join(get_args(TLSMode))}."
        )
    return TLS(
        mode=cast(TLSMode, mode),
        root_cert=query.pop("sslrootcert", None),
        cert=query.pop("sslcert", None),
        key=query.pop("sslkey", None),
        key_password=Masked(query.pop("sslpassword")) if "sslpassword" in query else None,
    )


def _flag_to_mode(flag: str) -> str:
    """``?ssl=true``, as Node's drivers write it, means encryption and nothing more."""
    modes = {"": "prefer", "true": "require", "1": "require", "false": "disable", "0": "disable"}
    return modes.get(flag.lower(), flag)


def _direct_tls(query: dict[str, str], tls: TLS) -> dict[str, Any]:
    negotiation = take(query, {"sslnegotiation": _NEGOTIATION})
    if "direct" not in negotiation.values():
        return {}
    if tls.mode in ("disable", "allow", "prefer"):
        raise InvalidDatabaseURL(
            "sslnegotiation=direct in the database URL needs TLS: add sslmode=verify-full, or require."
        )
    return {"direct_tls": True}
