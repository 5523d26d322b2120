"""PostgreSQL URLs in libpq's words, for asyncpg and psycopg."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any, cast, get_args

from sqlalchemy import URL

from fastapi_asyncdb.errors import InvalidDatabaseURL
from fastapi_asyncdb.url.parts import Host, Parts, number, refuse_unknown, split, split_host
from fastapi_asyncdb.url.target import TLS, Target, TLSMode

# libpq's parameters that have no counterpart in asyncpg and change nothing that is stored or sent.
# https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS
_ASYNCPG_IGNORES = frozenset(
    {
        "channel_binding",
        "client_encoding",
        "fallback_application_name",
        "gssencmode",
        "keepalives",
        "keepalives_count",
        "keepalives_idle",
        "keepalives_interval",
        "load_balance_hosts",
        "sslcompression",
        "sslsni",
        "tcp_user_timeout",
    }
)
_ASYNCPG_ARGUMENTS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "connect_timeout": ("timeout", float),
    "timeout": ("timeout", float),
    "command_timeout": ("command_timeout", float),
    "target_session_attrs": ("target_session_attrs", str),
    "passfile": ("passfile", str),
    "service": ("service", str),
    "krbsrvname": ("krbsrvname", str),
    "gsslib": ("gsslib", str),
    "statement_cache_size": ("statement_cache_size", int),
    "prepared_statement_cache_size": ("prepared_statement_cache_size", int),
    "max_cached_statement_lifetime": ("max_cached_statement_lifetime", int),
    "max_cacheable_statement_size": ("max_cacheable_statement_size", int),
}
_TLS_PARAMETERS = ("sslmode", "ssl", "sslrootcert", "sslcert", "sslkey")


def for_asyncpg(drivername: str, rest: str) -> Target:
    """Translate everything for asyncpg, which knows libpq's parameters only inside its own DSN."""
    parts = split(rest)
    query = dict(parts.query)
    hosts = _postgresql_hosts(parts, query)
    tls = _postgresql_tls(query)
    server_settings = _server_settings(query)
    arguments: dict[str, Any] = {}
    if query.pop("sslnegotiation", "postgres") == "direct":
        arguments["direct_tls"] = True
    for name in list(query):
        if name in _ASYNCPG_ARGUMENTS:
            argument, convert = _ASYNCPG_ARGUMENTS[name]
            arguments[argument] = number(name, query.pop(name), convert)
    refuse_unknown(query, _ASYNCPG_IGNORES, drivername)
    if server_settings:
        arguments["server_settings"] = server_settings
    return Target(_postgresql_url(drivername, parts, hosts, {}), arguments, _names(hosts), tls)


def for_psycopg(drivername: str, rest: str) -> Target:
    """Hand libpq its own parameters; it reads them itself."""
    parts = split(rest)
    query = dict(parts.query)
    hosts = _postgresql_hosts(parts, query)
    tls = _postgresql_tls(dict(query))
    return Target(_postgresql_url(drivername, parts, hosts, query), {}, _names(hosts), tls)


def _names(hosts: list[Host]) -> tuple[str, ...]:
    return tuple(host for host, _ in hosts)


def _postgresql_hosts(parts: Parts, query: dict[str, str]) -> list[Host]:
    """Take hosts and ports from the query as well, where cloud providers put socket directories."""
    named = query.pop("host", None) or query.pop("unix_sock", None)
    ports = [number("port", port, int) for port in query.pop("port", "").split(",") if port]
    if not named:
        return parts.hosts
    names = named.split(",")
    # A directory holds a colon as in /cloudsql/project:region:instance, and is no host with a port.
    hosts = [(name, None) if name.startswith("/") else split_host(name) for name in names]
    if ports:
        ports = ports * len(hosts) if len(ports) == 1 else ports
        if len(ports) != len(hosts):
            raise InvalidDatabaseURL("The database URL has more ports than hosts, or fewer.")
        hosts = [(host, port) for (host, _), port in zip(hosts, ports, strict=True)]
    return hosts


def _postgresql_url(drivername: str, parts: Parts, hosts: list[Host], query: dict[str, str]) -> URL:
    single = len(hosts) == 1 and not hosts[0][0].startswith("/")
    if not single and hosts:
        query["host"] = ",".join(host for host, _ in hosts)
        if any(not host.startswith("/") for host, _ in hosts) or any(port for _, port in hosts):
            query["port"] = ",".join(str(port or 5432) for _, port in hosts)
    return URL.create(
        drivername,
        username=parts.user,
        password=parts.password,
        host=hosts[0][0] if single else None,
        port=hosts[0][1] if single else None,
        database=parts.database,
        query=query,
    )


def _postgresql_tls(query: dict[str, str]) -> TLS:
    values = {name: query.pop(name) for name in _TLS_PARAMETERS if name in query}
    mode = values.get("sslmode") or _flag_to_mode(values.get("ssl"))
    if mode not in get_args(TLSMode):
        raise InvalidDatabaseURL(
            f"The database URL asks for sslmode={mode!r}. Use one of {', '.join(get_args(TLSMode))}."
        )
    return TLS(
        mode=cast(TLSMode, mode),
        root_cert=values.get("sslrootcert"),
        cert=values.get("sslcert"),
        key=values.get("sslkey"),
    )


def _flag_to_mode(flag: str | None) -> str:
    """``?ssl=true``, as Node's drivers write it, asks for encryption and for nothing more."""
    if flag is None:
        return "prefer"
    return {"true": "require", "1": "require", "false": "disable", "0": "disable"}.get(flag, flag)


def _server_settings(query: dict[str, str]) -> dict[str, str]:
    """Take what the server is told at connect: ``application_name`` and ``options=-c name=value``."""
    settings, others = {}, []
    words = _words(query.pop("options", ""))
    while words:
        word = words.pop(0)
        if word == "-c" and words:
            word = "-c" + words.pop(0)
        name, equals, value = word[2:].partition("=")
        if word.startswith("-c") and equals:
            settings[name] = value
        else:
            # "endpoint=..." and "--cluster=..." are for the provider's proxy, which wants them as is.
            others.append(word)
    if others:
        settings["options"] = " ".join(others)
    if "application_name" in query:
        settings["application_name"] = query.pop("application_name")
    return settings


def _words(options: str) -> list[str]:
    # Backslashes escape spaces, quotes mean nothing: the rule of PostgreSQL's pg_split_opts.
    lexer = shlex.shlex(options, posix=True)
    lexer.whitespace_split, lexer.commenters, lexer.quotes = True, "", ""
    return list(lexer)
