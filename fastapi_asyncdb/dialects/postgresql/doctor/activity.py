"""Checks of what PostgreSQL's sessions do now: long transactions, and queries that are blocked.

A query's text may contain secrets, so that only its operation and its table leave the server.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, text

from fastapi_asyncdb.dialects.doctor import Deployment, Result, duration, listed, ok, warn
from fastapi_asyncdb.dialects.postgresql.doctor.rights import hidden_sessions

_OPERATION = r"""
coalesce(upper(substring({query} from '^\s*(\w+)')), '?') || coalesce(' ' || substring({query} from
  '(?i)^\s*(?\:update|delete\s+from|insert\s+into|(?\:alter|lock|truncate)\s+table)\s+(?\:only\s+)?(["\w.]+)'),
  '')"""

# https://www.postgresql.org/docs/current/monitoring-stats.html#MONITORING-PG-STAT-ACTIVITY-VIEW
_LONG = text(f"""
SELECT pid, application_name, state, {_OPERATION.format(query="query")} AS operation,
  extract(epoch FROM clock_timestamp() - xact_start)::float8 AS seconds
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
  AND xact_start <= clock_timestamp() - make_interval(secs => :seconds)
UNION ALL
SELECT NULL, gid, 'prepared', '', extract(epoch FROM clock_timestamp() - prepared)::float8
FROM pg_prepared_xacts
WHERE database = current_database()
  AND prepared <= clock_timestamp() - make_interval(secs => :seconds)
ORDER BY seconds DESC
""")  # noqa: S608 - a constant

# A process of 0 is a prepared transaction:
# https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-INFO-SESSION
_BLOCKED = text(f"""
SELECT w.pid, w.application_name, {_OPERATION.format(query="w.query")} AS operation,
  extract(epoch FROM clock_timestamp() - w.query_start)::float8 AS seconds,
  blocker.pid AS blocking, b.application_name AS blocking_name, b.state AS blocking_state,
  {_OPERATION.format(query="b.query")} AS blocking_operation
FROM pg_stat_activity w
CROSS JOIN LATERAL (SELECT DISTINCT unnest(pg_blocking_pids(w.pid)) AS pid) blocker
LEFT JOIN pg_stat_activity b ON b.pid = blocker.pid
WHERE w.datname = current_database()
  AND w.pid IN (SELECT pid FROM pg_locks WHERE NOT granted)
  AND (w.query_start IS NULL
       OR w.query_start <= clock_timestamp() - make_interval(secs => :seconds))
ORDER BY w.query_start, w.pid, blocker.pid
""")  # noqa: S608 - a constant


def long_transactions(connection: Connection, deployment: Deployment) -> Result:
    """Return the transactions that have been open for long, the oldest first."""
    seconds = deployment.thresholds.long_transaction
    found = connection.execute(_LONG, {"seconds": seconds}).all()
    if not found:
        nothing = ok(f"No transaction has been open for {duration(seconds)}.")
        return hidden_sessions(connection) or nothing
    return warn(
        f"Open transactions: {listed([_transaction(row) for row in found])}.",
        "They keep their locks, and VACUUM from removing dead rows. End the oldest, "
        f"{_end(found[0])}, and find out why the application leaves it open: "
        "DATABASE_IDLE_IN_TRANSACTION_TIMEOUT ends those that idle.",
    )


def _transaction(row: Row[Any]) -> str:
    if row.pid is None:
        return f"prepared transaction {row.application_name} since {duration(row.seconds)}"
    return (
        f"process {row.pid} of {row.application_name!r} since {duration(row.seconds)} "
        f"({row.state}, {row.operation})"
    )


def _end(row: Row[Any]) -> str:
    if row.pid is None:
        return f"ROLLBACK PREPARED '{row.application_name}'"
    return f"SELECT pg_terminate_backend({row.pid})"


def blocked_queries(connection: Connection, deployment: Deployment) -> Result:
    """Return which queries wait for a lock, and for whom."""
    found = connection.execute(_BLOCKED, {"seconds": deployment.thresholds.blocked}).all()
    if not found:
        return ok("No query waits for a lock.")
    end = (
        f"SELECT pg_terminate_backend({found[0].blocking})"
        if found[0].blocking
        else "ROLLBACK PREPARED, by the name in pg_prepared_xacts"
    )
    return warn(
        f"Blocked: {listed([_blocked(row) for row in found])}.",
        f"Commit or end what blocks: {end}. DATABASE_LOCK_TIMEOUT limits such waits.",
    )


def _blocked(row: Row[Any]) -> str:
    waits = "" if row.seconds is None else f" for {duration(row.seconds)}"
    blocker = (
        f"process {row.blocking} of {row.blocking_name!r} "
        f"({row.blocking_state}, {row.blocking_operation})"
        if row.blocking
        else "a prepared transaction"
    )
    return (
        f"process {row.pid} of {row.application_name!r} ({row.operation}) waits{waits} on {blocker}"
    )
