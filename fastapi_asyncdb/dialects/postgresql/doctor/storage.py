"""Checks of PostgreSQL's storage: dead rows, and the cache. They read statistics, never a table."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, text

from fastapi_asyncdb.dialects.doctor import Deployment, Result, duration, listed, ok, skipped, warn

# https://www.postgresql.org/docs/current/monitoring-stats.html#MONITORING-PG-STAT-ALL-TABLES-VIEW
_DEAD = text("""
SELECT relid::regclass::text AS name, n_dead_tup AS dead,
  n_dead_tup::float8 / (n_live_tup + n_dead_tup) AS share,
  extract(epoch FROM now() - greatest(last_vacuum, last_autovacuum))::float8 AS seconds
FROM pg_stat_user_tables
WHERE n_dead_tup >= greatest(:rows, 1) AND n_dead_tup >= :share * (n_live_tup + n_dead_tup)
ORDER BY n_dead_tup DESC
""")
_AUTOVACUUM = text("SELECT current_setting('autovacuum')")
# https://www.postgresql.org/docs/current/monitoring-stats.html#MONITORING-PG-STAT-DATABASE-VIEW
_CACHE = text("""
SELECT blks_hit AS hit, blks_hit + blks_read AS read FROM pg_stat_database
WHERE datname = current_database()
""")


def bloat(connection: Connection, deployment: Deployment) -> Result:
    """Return the tables in which many rows are dead, by the server's own estimates."""
    limits = deployment.thresholds
    bounds = {"rows": limits.dead_rows, "share": limits.dead_share}
    found = connection.execute(_DEAD, bounds).all()
    if connection.execute(_AUTOVACUUM).scalar_one() == "off":
        return warn(
            "Autovacuum is off, and nothing removes dead rows.",
            "ALTER SYSTEM SET autovacuum = on, then SELECT pg_reload_conf().",
        )
    if not found:
        return ok("No table has many dead rows.")
    table = found[0].name
    return warn(
        f"Many rows are dead: {listed([_dead(row) for row in found])}.",
        f"VACUUM (ANALYZE) {table}. If they come back, let autovacuum run more often: "
        f"ALTER TABLE {table} SET (autovacuum_vacuum_scale_factor = 0.05), and look for long "
        "transactions, which keep it from removing them.",
    )


def _dead(row: Row[Any]) -> str:
    vacuum = "never" if row.seconds is None else f"{duration(row.seconds)} ago"
    return f"{row.name} ({row.dead}, {row.share:.0%}, last vacuum {vacuum})"


def cache(connection: Connection, deployment: Deployment) -> Result:
    """Return how many blocks the server has found in its own cache."""
    limits = deployment.thresholds
    row = connection.execute(_CACHE).one()
    if row.read < limits.cache_blocks:
        return skipped(f"Only {row.read} blocks were read since the statistics were reset.")
    rate = row.hit / max(row.read, 1)
    fact = f"The server's cache had {rate:.1%} of the blocks that were read."
    if rate >= limits.cache_hit_rate:
        return ok(fact)
    return warn(
        fact,
        "Raise shared_buffers to a quarter of the memory, look for queries that read whole tables "
        "(pg_stat_statements), or take a server with more memory. The system's own cache may have "
        "had the others.",
    )
