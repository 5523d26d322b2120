"""URLs of PostgreSQL for engines that are made of nothing else."""

from __future__ import annotations

from sqlalchemy import URL

from fastapi_asyncdb.dialects.postgresql.url import for_asyncpg, for_psycopg
from fastapi_asyncdb.dialects.target import Target
from fastapi_asyncdb.errors import InvalidDatabaseURL

_DIRECT = "Prepared statements have to be off behind a pooler: connect to the server itself."
_PASSFILE = "It would be shown: store the key without a password."
_ARGUMENTS = (
    "Use the engines of a Database, or run_env() in env.py, which pass it as an argument; or psycopg: "
    'sqlalchemy_url(driver="sync").'
)


def plain_url(drivername: str, rest: str) -> URL:
    """Write everything into the query of the URL; refuse what cannot stand there."""
    if drivername.endswith("+asyncpg"):
        return _for_asyncpg(for_asyncpg(drivername, rest))
    return _for_libpq(for_psycopg(drivername, rest))


def _for_libpq(target: Target) -> URL:
    """Write libpq's parameters, to which psycopg and psycopg2 pass the query."""
    if target.pooled and not target.url.drivername.endswith("+psycopg2"):
        raise _refusal(target, ["pgbouncer"], _DIRECT)
    if target.tls.key_password is not None:
        raise _refusal(target, ["sslpassword"], _PASSFILE)
    query = {name: str(value) for name, value in target.connect_args.items()}
    if target.connect_timeout is not None:
        query["connect_timeout"] = str(round(target.connect_timeout))
    return target.url.update_query_dict(query | _tls(target))


def _tls(target: Target) -> dict[str, str]:
    tls = target.tls
    written = {"sslrootcert": tls.root_cert, "sslcert": tls.cert, "sslkey": tls.key}
    named = {name: value for name, value in written.items() if value is not None}
    return named if tls.mode == "prefer" else named | {"sslmode": tls.mode}


def _for_asyncpg(target: Target) -> URL:
    """Write asyncpg's word for the encryption; it takes the rest as objects."""
    tls = target.tls
    lost = [name for name in target.connect_args if name != "server_settings"]
    lost += target.connect_args.get("server_settings", ())
    if target.pooled:
        lost.append("pgbouncer")
    if target.connect_timeout is not None:
        lost.append("connect_timeout")
    if tls.verified or tls.root_cert or tls.cert or tls.key:
        lost.append(f"sslmode={tls.mode}")
    if lost:
        raise _refusal(target, lost, _ARGUMENTS)
    return target.url.update_query_dict({} if tls.mode == "prefer" else {"ssl": tls.mode})


def _refusal(target: Target, lost: list[str], advice: str) -> InvalidDatabaseURL:
    return InvalidDatabaseURL(
        f"The database URL has {', '.join(lost)}, and {target.url.drivername} does not take "
        f"that in the URL of an engine. {advice}"
    )
