"""Settings that are sent to MySQL or MariaDB with each new connection, and for one transaction."""

from __future__ import annotations

import math
from collections.abc import Mapping

from fastapi_asyncdb.settings import DatabaseSettings

ISOLATION_LEVEL = "READ COMMITTED"
"""Of all transactions that name none. With the server's own, REPEATABLE READ, statements lock gaps
between rows, and so deadlock where they touch no row in common.
https://dev.mysql.com/doc/refman/8.4/en/innodb-transaction-isolation-levels.html"""

# What a value is that its column cannot store: an error, instead of a value that was made to fit.
# https://dev.mysql.com/doc/refman/8.4/en/sql-mode.html#sql-mode-strict
_STRICT = (
    "STRICT_TRANS_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,"
    # Otherwise a key of 0 is stored as the next free number, which SQLAlchemy does not know.
    # https://dev.mysql.com/doc/refman/8.4/en/sql-mode.html#sqlmode_no_auto_value_on_zero
    "NO_ENGINE_SUBSTITUTION,NO_AUTO_VALUE_ON_ZERO"
)
# The server's largest, 1 year in seconds for most, stands for no limit.
_LONGEST = 31_536_000


def is_mariadb(version: str) -> bool:
    """Return whether a server is MariaDB, by the version that it sends first."""
    return "mariadb" in version.lower()


def session_settings(settings: DatabaseSettings, *, mariadb: bool, sql_mode: str | None) -> str:
    """Return the statement that prepares a new connection.

    Args:
        settings: The timeouts.
        mariadb: Whether the server is MariaDB; the names of its variables differ.
        sql_mode: That of the URL, instead of the server's with strict mode.
    """
    level = ISOLATION_LEVEL.replace(" ", "-")
    values = {
        "time_zone": "'+00:00'",
        "sql_mode": f"CONCAT_WS(',', NULLIF(@@sql_mode, ''), '{_STRICT}')"
        if sql_mode is None
        else _quoted(sql_mode),
        "tx_isolation" if mariadb else "transaction_isolation": f"'{level}'",
        **timeouts(timeouts_of(settings), mariadb=mariadb),
    }
    if mariadb and settings.idle_in_transaction_timeout is not None:
        # https://mariadb.com/kb/en/server-system-variables/#idle_transaction_timeout
        idle = settings.idle_in_transaction_timeout
        values["idle_transaction_timeout"] = str(_whole(idle, none=0))
    return assignment(values)


def timeouts_of(settings: DatabaseSettings) -> dict[str, float | None]:
    """Return those of the settings, as ``timeouts`` takes them."""
    return {"statement_timeout": settings.statement_timeout, "lock_timeout": settings.lock_timeout}


def timeouts(seconds: Mapping[str, float | None], *, mariadb: bool) -> dict[str, str]:
    """Return the server's variables for timeouts of ours.

    Args:
        seconds: ``statement_timeout`` and ``lock_timeout``; ``None`` leaves it to the server.
        mariadb: MariaDB ends any statement; MySQL only a SELECT, by the same timeout.
    """
    values: dict[str, str] = {}
    limit, wait = seconds.get("statement_timeout"), seconds.get("lock_timeout")
    if limit is not None and mariadb:
        # https://mariadb.com/kb/en/aborting-statements/
        values["max_statement_time"] = f"{limit:.6f}"
    elif limit is not None:
        # https://dev.mysql.com/doc/refman/8.4/en/server-system-variables.html#sysvar_max_execution_time
        values["max_execution_time"] = str(math.ceil(limit * 1000))
    if wait is not None:
        # For rows, and for the definitions of tables.
        whole = str(_whole(wait, none=_LONGEST))
        values |= {"innodb_lock_wait_timeout": whole, "lock_wait_timeout": whole}
    return values


def assignment(values: Mapping[str, str]) -> str:
    """Return the SET statement for variables of the session."""
    return "SET " + ", ".join(f"SESSION {name} = {value}" for name, value in values.items())


def _whole(seconds: float, *, none: int) -> int:
    """Return whole seconds, rounded up; those timeouts have no smaller unit."""
    return math.ceil(seconds) or none


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
