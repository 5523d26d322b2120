"""MySQL's and MariaDB's named locks, which a connection holds: its checkin releases them.

https://dev.mysql.com/doc/refman/8.4/en/locking-functions.html
https://mariadb.com/kb/en/get_lock/
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError

from fastapi_asyncdb.dialects.autocommit import is_in_autocommit
from fastapi_asyncdb.dialects.mysql.errors import LOCK_TIMEOUT
from fastapi_asyncdb.dialects.mysql.transactions import IN_TRANSACTION, execute
from fastapi_asyncdb.errors import ConfigurationError

logger = logging.getLogger(__name__)

# Names are those of the server, ignore the case, and have 64 characters at most.
_NAME = {
    of: f"SHA2(CONCAT(COALESCE(CONVERT(DATABASE() USING utf8mb4), ''), '{mark}', :key), 256)"
    for of, mark in {str: " ", int: "#"}.items()
}
# Where no lock_timeout is set, the server's lock_wait_timeout is a day (MariaDB) or a year (MySQL).
_LOCK = {
    of: text(f"SELECT GET_LOCK({name}, @@lock_wait_timeout), {name}") for of, name in _NAME.items()
}
_TRY = {of: text(f"SELECT GET_LOCK({name}, 0), {name}") for of, name in _NAME.items()}
_HELD = "fastapi_asyncdb.advisory_locks"


class AdvisoryLocks:
    """Locks of the server, one for each database and key.

    The session returns its connection when the transaction has ended, and the locks are released then.
    """

    def lock(self, connection: Connection, key: str | int) -> None:
        """Wait for the lock, ``lock_timeout`` at most."""
        statement = _LOCK[type(key)]
        if not _take(connection, statement, key):
            driver: Any = connection.dialect.loaded_dbapi
            error = driver.OperationalError(
                LOCK_TIMEOUT,
                "Lock wait timeout exceeded: another transaction has the advisory lock",
            )
            raise DBAPIError.instance(str(statement), {}, error, driver.Error, hide_parameters=True)

    def try_lock(self, connection: Connection, key: str | int) -> bool:
        """Take the lock if it is free; return whether it was."""
        return _take(connection, _TRY[type(key)], key)


def _take(connection: Connection, statement: Any, key: str | int) -> bool:
    driver: Any = connection.connection.driver_connection
    # A sandbox has begun its transaction by a statement, in autocommit.
    if is_in_autocommit(connection) and not driver.server_status & IN_TRANSACTION:
        raise ConfigurationError(
            "This session is in autocommit, where no transaction ends that could release an advisory "
            "lock. Use a session without isolation_level='AUTOCOMMIT'."
        )
    held: dict[str | int, str] = connection.info.setdefault(_HELD, {})
    if key in held:  # the server counts how often a lock is taken
        return True
    taken, name = tuple(connection.execute(statement, {"key": key}).one())
    if not taken:
        return False
    if not held:
        record: Any = connection.connection._connection_record
        record.finalize_callback.append(partial(_release, record=record))
    held[key] = name
    return True


def _release(connection: DBAPIConnection, *, record: Any) -> None:
    """Release the locks; a connection that fails to is closed, which releases them too."""
    names = record.info.pop(_HELD).values()
    try:
        releases = ", ".join(f"RELEASE_LOCK('{name}')" for name in names)
        execute(connection, f"DO {releases}")
    except BaseException as error:
        logger.info("Advisory locks are released by closing their connection.", exc_info=True)
        record.invalidate(error)
        if not isinstance(error, Exception):
            raise
