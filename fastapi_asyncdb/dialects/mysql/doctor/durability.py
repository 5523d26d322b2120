"""Checks of what stays after a failure of the machine, and of the binary log."""

from __future__ import annotations

from sqlalchemy import Connection

from fastapi_asyncdb.dialects.doctor import Deployment, Result, fail, ok, warn
from fastapi_asyncdb.dialects.mysql.doctor.variables import read
from fastapi_asyncdb.dialects.mysql.server_settings import ISOLATION_LEVEL

_FLUSH, _SYNC = "innodb_flush_log_at_trx_commit", "sync_binlog"
_LOG = "log_bin"


def durability(connection: Connection, deployment: Deployment) -> Result:
    """Return whether a COMMIT is on the disk before it is acknowledged.

    Without it in the binary log, the recovery rolls a transaction back.
    https://dev.mysql.com/doc/refman/8.4/en/binary-log.html
    """
    found = read(connection, "GLOBAL VARIABLES", _FLUSH, _SYNC, _LOG)
    risky = {_FLUSH: found[_FLUSH]} if found[_FLUSH] not in ("1", "3") else {}
    if found.get(_LOG) == "ON" and found.get(_SYNC) != "1":
        risky[_SYNC] = found.get(_SYNC, "0")
    if not risky:
        return ok("A commit is on the disk before it is acknowledged.")
    names = " and ".join(f"{name} = {value}" for name, value in risky.items())
    return warn(
        f"After a power failure the last acknowledged commits may be lost: {names}.",
        f"Set {' and '.join(f'{name} = 1' for name in risky)} where each commit counts, as for "
        "payments; a commit then waits for the disk.",
    )


def binary_log(connection: Connection, deployment: Deployment) -> Result:
    """Return whether the server can log what transactions of the library's isolation level write."""
    found = read(connection, "GLOBAL VARIABLES", _LOG, "binlog_format")
    if found.get(_LOG) != "ON":
        return ok("The server has no binary log.")
    kind = found.get("binlog_format", "ROW")
    if kind != "STATEMENT":
        return ok(f"The binary log has the format {kind}.")
    # ER_BINLOG_STMT_MODE_AND_ROW_ENGINE
    return fail(
        f"The binary log has the format STATEMENT: in transactions at {ISOLATION_LEVEL}, which are "
        "those of the library, each write fails with error 1665.",
        "Run SET GLOBAL binlog_format = 'ROW', and set it in the server's configuration.",
    )
