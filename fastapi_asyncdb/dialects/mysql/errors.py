"""MySQL's and MariaDB's errors, by number: conflicts with other transactions, ended transactions.

https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html
https://mariadb.com/kb/en/mariadb-error-code-reference/
"""

from __future__ import annotations

import re

from sqlalchemy.exc import DBAPIError

LOCK_TIMEOUT = 1205
"""ER_LOCK_WAIT_TIMEOUT: ends the statement, and with innodb_rollback_on_timeout the transaction."""
_DEADLOCK = 1213
"""ER_LOCK_DEADLOCK: ends the transaction. On a Galera cluster the answer to a COMMIT that conflicts."""
_CHANGED = 1020
"""ER_CHECKREAD: MariaDB's, where innodb_snapshot_isolation is on. Ends the transaction."""
_OTHER_DEFINITION = 1412
"""ER_TABLE_DEF_CHANGED: another session has changed the table since the snapshot was taken."""
_CONFLICTS = {LOCK_TIMEOUT, _DEADLOCK, _CHANGED, _OTHER_DEFINITION}
# ER_TRANSACTION_ROLLBACK_DURING_COMMIT of group replication.
_ROLLED_BACK = {_DEADLOCK, _CHANGED, 3101}
GONE = 2006
"""CR_SERVER_GONE_ERROR: the connection had ended before the command was sent. MariaDB says nothing when
it ends an idle connection, for whatever reason; the drivers hear that it is closed."""
# ER_CONNECTION_KILLED and ER_CLIENT_INTERACTION_TIMEOUT, which MySQL says.
ENDED = {GONE, 1927, 4031}
"""The server had ended the connection before it read the command."""


_OPTION, _READ_ONLY = 1290, 1836
_NAME = re.compile("read[-_]only")


def is_conflict(error: BaseException) -> bool | None:
    """Return whether the transaction may succeed when it is run again; ``None`` for unknown errors."""
    number = number_of(error) if isinstance(error, DBAPIError) else None
    return None if number is None else number in _CONFLICTS


def ends_transaction(error: BaseException, *, on_timeout: bool) -> bool:
    """Return whether the server has rolled back the transaction of an error.

    Args:
        error: A driver's.
        on_timeout: Whether a lock timeout does so.
    """
    number = number_of(error)
    return number in _ROLLED_BACK or (on_timeout and number == LOCK_TIMEOUT)


def is_read_only_server(error: BaseException) -> bool:
    """Return whether the server takes no writes; 1792 is said of transactions that are read-only."""
    # ER_OPTION_PREVENTS_STATEMENT is said of other options as well, by their names.
    number = number_of(error)
    return number == _READ_ONLY or (number == _OPTION and bool(_NAME.search(str(error))))


def number_of(error: BaseException) -> int | None:
    """Return the number of a driver's error, or of SQLAlchemy's around it; ``None`` if it has none."""
    driver = getattr(error, "orig", None) or error
    if not hasattr(driver, "args") or isinstance(driver, OSError):
        return None
    # PyMySQL's family has it as the first argument.
    number = next(iter(driver.args), None)
    return number if isinstance(number, int) else None
