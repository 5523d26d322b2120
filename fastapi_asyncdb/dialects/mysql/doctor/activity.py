"""Checks of what sessions do now: long transactions, and queries that are blocked.

A query's text may contain secrets, so that only its operation and its table are shown.
"""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import Connection, Row, text

from fastapi_asyncdb.dialects.doctor import Deployment, Result, duration, listed, ok, warn
from fastapi_asyncdb.dialects.mysql.server_settings import is_mariadb

_OPERATION = re.compile(r"\s*(\w+)")
_TABLE = re.compile(
    r"\s*(?:UPDATE|DELETE\s+FROM|INSERT\s+INTO|REPLACE\s+INTO|(?:ALTER|TRUNCATE|DROP)\s+TABLE)"
    r"\s+([`\w.]+)",
    re.IGNORECASE,
)
# Their times are those of the server's system, whatever the time zone of the session is.
_NOW = "CONVERT_TZ(UTC_TIMESTAMP(), '+00:00', 'SYSTEM')"
# https://dev.mysql.com/doc/refman/8.4/en/information-schema-innodb-trx-table.html
_LONG = text(f"""
SELECT t.trx_mysql_thread_id AS id, p.user AS user, p.host AS host, p.command AS command,
  t.trx_query AS query, TIMESTAMPDIFF(SECOND, t.trx_started, {_NOW}) AS seconds
FROM information_schema.innodb_trx t
LEFT JOIN information_schema.processlist p ON p.id = t.trx_mysql_thread_id
WHERE (p.db = DATABASE() OR t.trx_mysql_thread_id = 0)
  AND t.trx_mysql_thread_id <> CONNECTION_ID()
  AND TIMESTAMPDIFF(SECOND, t.trx_started, {_NOW}) >= :seconds
ORDER BY seconds DESC
""")  # noqa: S608 - a constant
_WAITS = {
    # https://mariadb.com/kb/en/information-schema-innodb_lock_waits-table/
    True: (
        "information_schema.innodb_lock_waits w "
        "JOIN information_schema.innodb_trx r ON r.trx_id = w.requesting_trx_id "
        "JOIN information_schema.innodb_trx b ON b.trx_id = w.blocking_trx_id"
    ),
    # https://dev.mysql.com/doc/refman/8.4/en/performance-schema-data-lock-waits-table.html
    False: (
        "performance_schema.data_lock_waits w "
        "JOIN information_schema.innodb_trx r ON r.trx_id = w.requesting_engine_transaction_id "
        "JOIN information_schema.innodb_trx b ON b.trx_id = w.blocking_engine_transaction_id"
    ),
}
_ROWS = """
SELECT DISTINCT r.trx_mysql_thread_id AS id, p.user AS user, r.trx_query AS query,
  TIMESTAMPDIFF(SECOND, r.trx_wait_started, {now}) AS seconds,
  b.trx_mysql_thread_id AS blocking, q.user AS blocking_user, b.trx_query AS blocking_query
FROM {waits}
LEFT JOIN information_schema.processlist p ON p.id = r.trx_mysql_thread_id
LEFT JOIN information_schema.processlist q ON q.id = b.trx_mysql_thread_id
WHERE p.db = DATABASE() AND TIMESTAMPDIFF(SECOND, r.trx_wait_started, {now}) >= :seconds
ORDER BY seconds DESC, id, blocking
"""
# Who has a lock on the definition of a table is not known without a plugin, or instruments.
_DEFINITIONS = text("""
SELECT id, user, info AS query, time AS seconds FROM information_schema.processlist
WHERE db = DATABASE() AND state LIKE 'Waiting for%metadata lock' AND time >= :seconds
ORDER BY time DESC, id
""")


def long_transactions(connection: Connection, deployment: Deployment) -> Result:
    """Return the transactions that have been open for long, the oldest first."""
    seconds = deployment.thresholds.long_transaction
    found = connection.execute(_LONG, {"seconds": seconds}).all()
    if not found:
        return ok(f"No transaction has been open for {duration(seconds)}.")
    oldest = found[0]
    end = f"KILL {oldest.id}" if oldest.id else "XA RECOVER shows it, XA ROLLBACK ends it"
    return warn(
        f"Open transactions: {listed([_transaction(row) for row in found])}.",
        "They keep their locks, and old versions of rows. A change of a table waits for them, and "
        f"everything else for the change. End the oldest, {end}, and find out why the application "
        "leaves it open: DATABASE_IDLE_IN_TRANSACTION_TIMEOUT ends those that idle on MariaDB.",
    )


def _transaction(row: Row[Any]) -> str:
    if not row.id:
        return f"a prepared transaction since {duration(row.seconds)}"
    return (
        f"session {row.id} of {row.user!r} from {row.host} since {duration(row.seconds)} "
        f"({_operation(row.query)})"
    )


def _operation(query: str | None) -> str:
    """Return the operation of a query and its table, nothing else of its text."""
    operation = _OPERATION.match(query or "")
    if query is None or operation is None:
        return "idle"
    table = _TABLE.match(query)
    return " ".join([operation[1].upper(), *([table[1]] if table else [])])


def blocked_queries(connection: Connection, deployment: Deployment) -> Result:
    """Return which queries wait for a lock, and for whom."""
    limit = {"seconds": deployment.thresholds.blocked}
    mariadb = is_mariadb(str(connection.exec_driver_sql("SELECT VERSION()").scalar_one()))
    rows = connection.execute(text(_ROWS.format(waits=_WAITS[mariadb], now=_NOW)), limit).all()
    tables = connection.execute(_DEFINITIONS, limit).all()
    if not rows and not tables:
        return ok("No query waits for a lock.")
    found = [f"{_waiting(row)} on {_blocker(row)}" for row in rows]
    found += [f"{_waiting(row)} for a table that a transaction uses" for row in tables]
    end = f"KILL {rows[0].blocking}" if rows else "KILL, by the number that long transactions has"
    return warn(
        f"Blocked: {listed(found)}.",
        f"Commit or end what blocks: {end}. DATABASE_LOCK_TIMEOUT limits such waits.",
    )


def _waiting(row: Row[Any]) -> str:
    query = _operation(row.query)
    return f"session {row.id} of {row.user!r} ({query}) waits {duration(row.seconds)}"


def _blocker(row: Row[Any]) -> str:
    if not row.blocking:
        return "a prepared transaction"
    return f"session {row.blocking} of {row.blocking_user!r} ({_operation(row.blocking_query)})"
