"""PostgreSQL's advisory locks, those that end with the transaction: also behind a pooler."""

from __future__ import annotations

from sqlalchemy import Connection, text

from fastapi_asyncdb.dialects.autocommit import is_in_autocommit
from fastapi_asyncdb.errors import ConfigurationError

# The server's hash of a string has 64 bits, so another program can lock the same key in SQL.
# https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-ADVISORY-LOCKS
_NUMBER = {
    str: "hashtextextended(CAST(:key AS text), 0)",
    int: "CAST(:key AS bigint)",
}
_LOCK = {of: text(f"SELECT pg_advisory_xact_lock({number})") for of, number in _NUMBER.items()}
_TRY = {of: text(f"SELECT pg_try_advisory_xact_lock({number})") for of, number in _NUMBER.items()}


class AdvisoryLocks:
    """Locks of the server, one for each key."""

    def lock(self, connection: Connection, key: str | int) -> None:
        """Wait for the lock, ``lock_timeout`` at most."""
        _refuse_autocommit(connection)
        connection.execute(_LOCK[type(key)], {"key": key})

    def try_lock(self, connection: Connection, key: str | int) -> bool:
        """Take the lock if it is free; return whether it was."""
        _refuse_autocommit(connection)
        return bool(connection.scalar(_TRY[type(key)], {"key": key}))


def _refuse_autocommit(connection: Connection) -> None:
    if is_in_autocommit(connection):
        raise ConfigurationError(
            "This session is in autocommit, where an advisory lock is released at once. Use a session "
            "without isolation_level='AUTOCOMMIT'."
        )
