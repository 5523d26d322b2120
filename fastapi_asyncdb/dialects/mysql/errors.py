"""MySQL's errors: conflicts with another transaction, and rejected statements, by number."""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError

from fastapi_asyncdb.dialects.rejection import Rejection, RejectionKind

# https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html
# ER_LOCK_WAIT_TIMEOUT, ER_LOCK_DEADLOCK
_CONFLICTS = {1205, 1213}
_KINDS: dict[int, RejectionKind] = {
    1048: "not null",
    1062: "unique",
    1264: "value",  # out of range
    1292: "value",  # truncated wrong value
    1366: "value",  # truncated wrong value for a column
    1406: "value",  # too long
    1451: "foreign key",
    1452: "foreign key",
    3024: "statement timeout",
    3819: "check",
}


def is_conflict(error: BaseException) -> bool | None:
    """Return whether the transaction may succeed when it is run again; ``None`` for unknown errors."""
    number = _number(error)
    return None if number is None else number in _CONFLICTS


def rejection_of(error: BaseException) -> Rejection | None:
    """Return why the server rejected a statement; ``None`` if it did not, or if unknown."""
    kind = _KINDS.get(number) if (number := _number(error)) is not None else None
    return None if kind is None else Rejection(kind, str(number))


def _number(error: BaseException) -> int | None:
    if not isinstance(error, DBAPIError) or error.orig is None:
        return None
    # PyMySQL's family has the error's number as the first argument.
    number = next(iter(error.orig.args), None)
    return number if isinstance(number, int) else None
