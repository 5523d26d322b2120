"""PostgreSQL's streaming replication: positions in the write-ahead log.

https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-RECOVERY-CONTROL
"""

from __future__ import annotations

from fastapi_asyncdb.dialects.base import LogPositions

READ_ONLY = "default_transaction_read_only"


def _position(primary: str, standby: str) -> str:
    """Return a query for the position of a server in its log, by what it is."""
    return (
        "SELECT CAST(pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() "
        f"THEN {standby} ELSE {primary} END, '0/0') AS bigint)"
    )


# The insert position includes commits that are not on disk yet: synchronous_commit = off. It may lie
# behind the header of a page that the next record begins, which no standby has replayed before that.
POSITIONS = LogPositions(
    stored=_position("pg_current_wal_flush_lsn()", "pg_last_wal_replay_lsn()"),
    written=_position("pg_current_wal_insert_lsn()", "NULL"),
)
