"""The check of a replica of MySQL or MariaDB."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from fastapi_asyncdb.dialects.doctor import Deployment, Result, duration, fail, ok, warn


def replica_lag(connection: Connection, deployment: Deployment) -> Result:
    """Return how far this server is behind its source, if it has one."""
    found = connection.exec_driver_sql("SHOW REPLICA STATUS").mappings().all()
    if not found:
        return ok(
            "The server is no replica. Of its own replicas it does not know how far they are."
        )
    return lag(dict(found[0]), deployment.thresholds.replica_lag)


def lag(status: Mapping[str, Any], limit: float) -> Result:
    """Return the lag by a row of the server, whose columns have newer names in MySQL.

    https://dev.mysql.com/doc/refman/8.4/en/show-replica-status.html
    """
    threads = [_either(status, f"{each}_Running") for each in ("IO", "SQL")]
    if threads != ["Yes", "Yes"]:
        names = dict(zip(("IO", "SQL"), threads, strict=True))
        error = status.get("Last_IO_Error") or status.get("Last_SQL_Error")
        return fail(
            f"Replication stands still: {', '.join(f'{k} {v}' for k, v in names.items())}"
            f"{f' ({error})' if error else ''}.",
            "Reads have old rows. Remove the cause, then START REPLICA; SHOW REPLICA STATUS has more.",
        )
    seconds = status.get("Seconds_Behind_Source", status.get("Seconds_Behind_Master"))
    fact = f"The replica is {duration(float(seconds or 0))} behind."
    if float(seconds or 0) <= limit:
        return ok(fact)
    return warn(
        fact,
        "Reads have old rows. Look for long statements and large transactions at the source, or let "
        "the replica apply several at a time (replica_parallel_workers, slave_parallel_threads).",
    )


def _either(status: Mapping[str, Any], name: str) -> Any:
    return status.get(f"Replica_{name}", status.get(f"Slave_{name}"))
