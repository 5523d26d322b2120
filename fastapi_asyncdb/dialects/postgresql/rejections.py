"""Why PostgreSQL rejected a statement, by SQLSTATE, with the names that come beside it.

https://www.postgresql.org/docs/current/errcodes-appendix.html
https://www.postgresql.org/docs/current/protocol-error-fields.html
"""

from __future__ import annotations

from fastapi_asyncdb.dialects.postgresql.errors import field_of, sqlstate_of
from fastapi_asyncdb.dialects.rejection import Rejection, RejectionKind
from fastapi_asyncdb.tracebacks import causes

_KINDS: dict[str, RejectionKind] = {
    "23001": "foreign key",  # restrict_violation
    "23502": "not null",
    "23503": "foreign key",
    "23505": "unique",
    "23514": "check",
    "23P01": "exclusion",
    "44000": "check",  # with_check_option_violation
    "54000": "value",  # program_limit_exceeded: a text that is too long for an index
    "55P03": "lock timeout",  # lock_not_available, also by NOWAIT
    "57014": "statement timeout",  # query_canceled
}
_CLASSES: dict[str, RejectionKind] = {
    "08": "unavailable",  # connection exceptions
    "22": "value",  # data exceptions
    "53": "unavailable",  # insufficient resources
    "57": "unavailable",  # operator intervention
    "58": "unavailable",  # system errors
}


def rejection_of(error: BaseException) -> Rejection | None:
    """Return why the server, or the driver in its place, rejected a statement; ``None`` if unknown."""
    state = sqlstate_of(error)
    kind = _KINDS.get(state or "") or _CLASSES.get((state or "")[:2])
    if kind is None or (kind == "value" and _is_of_a_wrong_type(error)):
        return None
    column = _name(error, "column_name")
    return Rejection(
        kind,
        state,
        _name(error, "constraint_name"),
        _name(error, "table_name"),
        (column,) if column else (),
    )


def _is_of_a_wrong_type(error: BaseException) -> bool:
    """Return whether asyncpg met a value of another type, an error of the application's.

    It gives such values the same code as those that are out of range.
    """
    return any(isinstance(cause, TypeError) for cause in causes(error))


def _name(error: BaseException, field: str) -> str | None:
    found = (field_of(cause, field) for cause in causes(error))
    return next((name for name in found if isinstance(name, str)), None)
