"""Checks of the way to a PostgreSQL server: TLS, a pooler, the number of connections."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.engine.interfaces import DBAPIConnection

from fastapi_asyncdb.dialects.doctor import Deployment, Result, fail, ok, skipped, warn
from fastapi_asyncdb.dialects.postgresql.pooler import evidence, is_pooled

# reserved_connections came with PostgreSQL 16. A limit of -1 is none. Processes for replication have
# slots of their own. https://www.postgresql.org/docs/current/runtime-config-connection.html
_LIMITS = text("""
SELECT current_setting('max_connections')::int AS most,
  current_setting('superuser_reserved_connections')::int
    + coalesce(current_setting('reserved_connections', true)::int, 0) AS reserved,
  (SELECT least(CASE WHEN rolconnlimit >= 0 AND NOT rolsuper THEN rolconnlimit END,
                CASE WHEN datconnlimit >= 0 AND NOT rolsuper THEN datconnlimit END)
   FROM pg_roles, pg_database WHERE rolname = current_user AND datname = current_database()
  ) AS lower,
  (SELECT count(*) FROM pg_stat_activity
   WHERE datname IS NOT NULL AND coalesce(backend_type, 'client backend') = 'client backend'
     AND NOT (usename = current_user AND datname = current_database()
              AND application_name = current_setting('application_name'))
  ) AS others
""")


def tls(connection: Connection, deployment: Deployment) -> Result:
    """Return whether the connection is encrypted, and whether the server has to prove who it is."""
    target = deployment.target
    driver: Any = _raw(connection).driver_connection
    encrypted = bool(driver.is_encrypted())
    if target.is_local:
        words = "has TLS" if encrypted else "has no TLS, and needs none"
        return ok(f"The connection {words}: the server is on this machine.")
    if encrypted and target.tls.verified:
        return ok(f"The connection has TLS, and the certificate is verified ({target.tls.mode}).")
    cure = (
        "Add sslmode=verify-full to DATABASE_URL, and sslrootcert=FILE if the authority is private. "
        "With DATABASE_ENVIRONMENT=production the application does not start without."
    )
    if encrypted:
        mode = target.tls.mode
        return warn(f"The connection has TLS, but sslmode={mode} does not verify the server.", cure)
    return fail(f"The connection to {', '.join(target.hosts)} is not encrypted.", cure)


def pooler(connection: Connection, deployment: Deployment) -> Result:
    """Return whether a pooler in transaction mode is between the application and the server."""
    if not is_pooled(_raw(connection)):
        return ok("Connections go to the server itself.")
    words = evidence(deployment.target, setting=deployment.settings.pgbouncer)
    return ok(
        f"Connections go through a pooler in transaction mode: "
        f"{words or 'they do not keep their process on the server'}."
    )


def connections(connection: Connection, deployment: Deployment) -> Result:
    """Compare the connections that all processes may open with those that the server has."""
    settings = deployment.settings
    needed = (
        deployment.workers * (settings.pool_size + settings.max_overflow) * deployment.instances
    )
    sum_ = (
        f"{deployment.workers} workers x ({settings.pool_size} + {settings.max_overflow}) x "
        f"{deployment.instances} instances may open {needed} connections"
    )
    if is_pooled(_raw(connection)):
        return skipped(
            f"{sum_}, to the pooler, whose limits only its administrator sees.",
            "Compare the number with the pooler's max_client_conn.",
        )
    row = connection.execute(_LIMITS).one()
    free = row.most - row.reserved
    limit = free if row.lower is None else min(free, row.lower)
    return _compare(needed, limit, row.others, f"{sum_}; the server has {limit} for them")


def _compare(needed: int, limit: int, others: int, words: str) -> Result:
    fact = f"{words}, and others use {others} now."
    cure = (
        "Lower DATABASE_POOL_SIZE or DATABASE_MAX_OVERFLOW, or the number of workers; or put a pooler "
        "in front of the server, or raise max_connections, which needs a restart."
    )
    if needed > limit:
        return fail(fact, cure)
    return warn(fact, cure) if needed + others > limit else ok(fact)


def _raw(connection: Connection) -> DBAPIConnection:
    raw = connection.connection.dbapi_connection
    if raw is None:
        raise RuntimeError("The connection was lost.")
    return raw
