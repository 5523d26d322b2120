"""Which kind of problem an error is. Pure: looks at the error, and answers nothing."""

from __future__ import annotations

from sqlalchemy import exc
from sqlalchemy.orm.exc import StaleDataError

from fastapi_asyncdb import errors
from fastapi_asyncdb.dialects import Rejection, rejection_of
from fastapi_asyncdb.session.retry import is_retryable
from fastapi_asyncdb.web.problems import kinds
from fastapi_asyncdb.web.problems.kinds import Kind

# The first that fits.
_BY_CLASS: tuple[tuple[type[BaseException], Kind], ...] = (
    (errors.CommitOutcomeUnknown, kinds.COMMIT_OUTCOME_UNKNOWN),
    (exc.TimeoutError, kinds.BUSY),  # of any of SQLAlchemy's pools
    (errors.DatabaseStopping, kinds.STOPPING),
    (errors.CannotConnect, kinds.UNAVAILABLE),
    (errors.DatabaseUnavailable, kinds.UNAVAILABLE),
    (errors.RollbackTimeout, kinds.UNAVAILABLE),
    (errors.ServerReadOnly, kinds.UNAVAILABLE),
    (errors.NotFoundError, kinds.NOT_FOUND),
    (errors.InvalidCursor, kinds.INVALID_CURSOR),
    (errors.InvalidValue, kinds.INVALID_VALUE),
    (errors.OperationTimeout, kinds.STATEMENT_TIMEOUT),
    (StaleDataError, kinds.STALE),
)
_BY_REJECTION: dict[str, Kind] = {
    "unique": kinds.UNIQUE,
    "foreign key": kinds.FOREIGN_KEY,
    "exclusion": kinds.EXCLUSION,
    "check": kinds.CHECK,
    "not null": kinds.NOT_NULL,
    "value": kinds.INVALID_VALUE,
    "statement timeout": kinds.STATEMENT_TIMEOUT,
    "lock timeout": kinds.LOCK_TIMEOUT,
    "unavailable": kinds.UNAVAILABLE,
}


def classify(error: BaseException) -> tuple[Kind | None, Rejection | None]:
    """Return the kind of an error, and what the database says of the statement that it rejected.

    The kind is ``None`` for an error that is neither SQLAlchemy's nor this library's, except for text
    that no encoding has. An error of the application's own code, such as a misspelt table or a session
    that was used too late, is ``internal-error``.
    """
    if not isinstance(error, exc.SQLAlchemyError | errors.AsyncDBError):
        return (kinds.INVALID_VALUE if _is_half_a_character(error) else None), None
    if isinstance(error, errors.DuplicateKey):
        return kinds.UNIQUE, Rejection("unique", constraint=error.index, columns=error.fields)
    for cls, kind in _BY_CLASS:
        if isinstance(error, cls):
            return kind, None
    rejection = rejection_of(error) if isinstance(error, exc.StatementError) else None
    # On MySQL a lock that is not free in time can be retried as well.
    if is_retryable(error) and (rejection is None or rejection.kind != "lock timeout"):
        return kinds.CONFLICT, None
    if getattr(error, "connection_invalidated", False):
        return kinds.UNAVAILABLE, None
    return (kinds.INTERNAL if rejection is None else _BY_REJECTION[rejection.kind]), rejection


def _is_half_a_character(error: BaseException) -> bool:
    """Return whether a text has a lone surrogate.

    Python's parser of JSON accepts it, and so does Pydantic; then a message, a log or the response has
    to be encoded. Nothing but a client sends it: codecs do not decode it.
    """
    return isinstance(error, UnicodeEncodeError) and error.reason == "surrogates not allowed"
