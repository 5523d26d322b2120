"""MySQL's errors: which of them are conflicts with another transaction."""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError

# ER_LOCK_WAIT_TIMEOUT, ER_LOCK_DEADLOCK:
# https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html
_CONFLICTS = {1205, 1213}


def is_conflict(error: BaseException) -> bool | None:
    """Return whether the transaction may succeed when it is run again; ``None`` for unknown errors."""
    if not isinstance(error, DBAPIError) or error.orig is None:
        return None
    # PyMySQL's family has the error's number as the first argument.
    number = next(iter(error.orig.args), None)
    return number in _CONFLICTS if isinstance(number, int) else None
