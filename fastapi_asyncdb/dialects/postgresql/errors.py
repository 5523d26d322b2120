"""PostgreSQL's errors, by SQLSTATE: conflicts, outdated plans, ended transactions."""

from __future__ import annotations

from fastapi_asyncdb.tracebacks import causes

# https://www.postgresql.org/docs/current/errcodes-appendix.html
IDLE_IN_TRANSACTION = "25P03"
"""idle_in_transaction_session_timeout: the server has ended the connection while it waited."""
READ_ONLY = "25006"
"""read_only_sql_transaction"""

_DEADLOCK = "40P01"
# serialization_failure, and the above. Not lock_not_available (55P03), which a lock_timeout causes:
# https://www.postgresql.org/docs/current/mvcc-serialization-failure-handling.html
_CONFLICTS = {"40001", _DEADLOCK}
# in_failed_sql_transaction: the consequence of an error, which comes later in the chain.
_CONSEQUENCE = "25P02"
# undefined_function, and invalid_parameter_value: a number that this server has not used yet.
_NO_SUCH_TRANSACTION = ("42883", "22023")
# The server's function that reports it; the words may be in the server's language, and the SQLSTATE,
# feature_not_supported, says many other things.
_REVALIDATION = "RevalidateCachedQuery"
# internal_error, for a type that was replaced since the statement was parsed: nothing locks types. The
# server translates no internal error.
_INTERNAL = "XX000"
_TYPE_IS_GONE = "cache lookup failed for type"


def sqlstate_of(error: BaseException | None) -> str | None:
    """Return the SQLSTATE of a driver's error, or of SQLAlchemy's around it; ``None`` if it has none."""
    state = getattr(error, "sqlstate", None) or getattr(
        getattr(error, "orig", None), "sqlstate", None
    )
    return state if isinstance(state, str) else None


def is_conflict(error: BaseException) -> bool | None:
    """Return whether the transaction may succeed when it is run again; ``None`` if no error of ours."""
    state = getattr(error, "sqlstate", None)
    if not isinstance(state, str) or state == _CONSEQUENCE:
        return None
    return state in _CONFLICTS or is_outdated_plan(error)


def is_outdated_plan(error: BaseException) -> bool:
    """Return whether the statement failed because a table or type was changed since it was parsed."""
    return any(
        field_of(cause, "source_function") == _REVALIDATION
        or (sqlstate_of(cause) == _INTERNAL and _TYPE_IS_GONE in str(cause))
        for cause in causes(error)
    )


def is_deadlock(error: BaseException) -> bool:
    """Return whether the server has ended the statement because it and others waited for each other."""
    return sqlstate_of(error) == _DEADLOCK


def comes_from_server(error: BaseException) -> bool:
    """Return whether the server sent the error, and so ended the transaction; drivers have others."""
    return any(field_of(cause, "severity") is not None for cause in causes(error))


def knows_no_transaction(error: BaseException) -> bool:
    """Return whether the server cannot say what became of a transaction."""
    return sqlstate_of(error) in _NO_SUCH_TRANSACTION


def field_of(error: BaseException, name: str) -> object:
    """Return a field of the server's message: asyncpg has it on the error, psycopg on its ``diag``."""
    own = "server_source_function" if name == "source_function" else name
    return getattr(error, own, None) or getattr(getattr(error, "diag", None), name, None)
