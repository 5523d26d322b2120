"""Checks of PostgreSQL's replication, from the primary or from a standby."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, text

from fastapi_asyncdb.dialects.doctor import (
    Deployment,
    Result,
    duration,
    listed,
    ok,
    size,
    skipped,
    warn,
)
from fastapi_asyncdb.dialects.postgresql.doctor.rights import monitor

_IS_STANDBY = text("SELECT pg_is_in_recovery()")

# https://www.postgresql.org/docs/current/monitoring-stats.html#MONITORING-PG-STAT-REPLICATION-VIEW
_STANDBYS = text("""
SELECT application_name AS name, state, quote_ident(current_user) AS role,
  pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)::float8 AS bytes,
  extract(epoch FROM replay_lag)::float8 AS seconds
FROM pg_stat_replication ORDER BY bytes DESC NULLS LAST, name
""")

# On an idle primary the last transaction is old, though nothing is behind.
# https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-RECOVERY-INFO-TABLE
_REPLAY = text("""
SELECT
  coalesce(pg_wal_lsn_diff(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()), 0)::float8 AS bytes,
  CASE WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0
    ELSE extract(epoch FROM now() - pg_last_xact_replay_timestamp()) END::float8 AS seconds,
  pg_is_wal_replay_paused() AS paused
""")

# https://www.postgresql.org/docs/current/view-pg-replication-slots.html
_SLOTS = text("""
SELECT slot_name AS name, pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery()
  THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, restart_lsn)::float8 AS bytes
FROM pg_replication_slots WHERE NOT active AND NOT temporary ORDER BY bytes DESC NULLS LAST, name
""")


def standby(connection: Connection, deployment: Deployment) -> Result:
    """Return whether a replica of the application follows a primary."""
    if connection.execute(_IS_STANDBY).scalar_one():
        return ok("The server is a standby.")
    return warn(
        "The server is no standby: it was promoted, or is the primary.",
        "Correct DATABASE_REPLICA_URLS. After a failover, a server that no longer follows the primary "
        "has old rows: let it follow the new one.",
    )


def replica_lag(connection: Connection, deployment: Deployment) -> Result:
    """Return how far the standbys are behind, or this one."""
    if connection.execute(_IS_STANDBY).scalar_one():
        return _lag_of_this(connection, deployment)
    standbys = connection.execute(_STANDBYS).all()
    if not standbys:
        return ok("The server has no standbys.")
    if any(row.state is None for row in standbys):
        return skipped("The role may not see the standbys.", monitor(standbys[0].role))
    behind = [row for row in standbys if _is_behind(row, deployment)]
    if not behind:
        return ok(f"Standbys keep up: {listed([_lag(row) for row in standbys])}.")
    return warn(f"Standbys are behind: {listed([_lag(row) for row in behind])}.", _CURE)


_CURE = (
    "Look on the standby for paused replay (pg_is_wal_replay_paused()), for long queries, which replay "
    "waits for up to max_standby_streaming_delay, and for its disk and network. Read from the primary "
    "what must be new."
)


def _lag_of_this(connection: Connection, deployment: Deployment) -> Result:
    row = connection.execute(_REPLAY).one()
    seconds = row.seconds or 0.0
    fact = f"This server is a standby, {size(row.bytes)} and {duration(seconds)} behind."
    if row.paused:
        return warn(f"{fact} Its replay is paused.", "SELECT pg_wal_replay_resume() on it.")
    return warn(fact, _CURE) if _is_behind(row, deployment) else ok(fact)


def _is_behind(row: Row[Any], deployment: Deployment) -> bool:
    limits = deployment.thresholds
    by_time = (row.seconds or 0.0) > limits.replica_lag
    return by_time or (row.bytes or 0.0) > limits.replica_lag_bytes


def _lag(row: Row[Any]) -> str:
    return f"{row.name} ({row.state}, {size(row.bytes or 0)}, {duration(row.seconds or 0.0)})"


def replication_slots(connection: Connection, deployment: Deployment) -> Result:
    """Return the slots without a consumer, for which the server keeps its log until the disk is full."""
    found = connection.execute(_SLOTS).all()
    if not found:
        return ok("No replication slot is without its consumer.")
    names = listed([f"{row.name} ({size(row.bytes or 0)})" for row in found])
    return warn(
        f"Nothing reads from the replication slots {names}.",
        "The server keeps its write-ahead log for them until the disk is full. Start the consumer, or "
        f"SELECT pg_drop_replication_slot('{found[0].name}').",
    )
