"""The kinds of problems: their types, statuses and words. docs/problems.md has a section for each."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi_asyncdb import client_errors, unavailable
from fastapi_asyncdb.web.problems.problem import Problem

TYPE_BASE = "urn:problem-type:fastapi-asyncdb:"
"""What stands before the name of a kind in the ``type``, unless the application chooses another."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One type of problem."""

    name: str
    status: int
    title: str
    detail: str
    retry_after: int | None = None
    """Seconds."""

    def problem(self, base: str, *, detail: str | None = None, **extensions: object) -> Problem:
        """Return a problem of this kind.

        Args:
            base: What stands before the name in the ``type``.
            detail: A sentence about this occurrence, instead of the kind's own.
            **extensions: Further members; those that are empty are left out.
        """
        return Problem(
            title=self.title,
            status=self.status,
            type=base + self.name,
            detail=detail or self.detail,
            retry_after=self.retry_after,
            extensions={name: value for name, value in extensions.items() if value},
        )


NOT_FOUND = Kind("not-found", 404, "Not found", client_errors.not_found(None))
UNIQUE = Kind(
    "unique-violation",
    409,
    "Exists already",
    "There is a row with the same values already, where only one may have them.",
)
FOREIGN_KEY = Kind(
    "foreign-key-violation",
    409,
    "Missing or used elsewhere",
    "What this refers to does not exist, or something else still refers to this.",
)
EXCLUSION = Kind(
    "exclusion-violation", 409, "Overlaps", "This overlaps with a row that exists already."
)
STALE = Kind(
    "stale-row",
    409,
    "Changed by another request",
    client_errors.STALE,
)
CHECK = Kind("check-violation", 422, "Breaks a rule", "The values break a rule of the data.")
NOT_NULL = Kind("not-null-violation", 422, "Value missing", "A value that is needed is missing.")
INVALID_VALUE = Kind(
    "invalid-value",
    422,
    "Value cannot be stored",
    "A value is too large, too long, or has a form or a character that cannot be stored.",
)
INVALID_CURSOR = Kind(
    "invalid-cursor",
    422,
    "Cursor not valid",
    client_errors.INVALID_CURSOR,
)
INVALID_REQUEST = Kind(
    "invalid-request",
    422,
    "Request not valid",
    "The request is not valid: 'errors' says where.",
)
INTERNAL = Kind(
    "internal-error",
    500,
    "Internal error",
    "The request failed because of an error of the service.",
)
COMMIT_OUTCOME_UNKNOWN = Kind(
    "commit-outcome-unknown",
    500,
    "Outcome unknown",
    "The connection to the database was lost while the changes were being stored: they are stored, or "
    "they are not. Please look before you repeat the request.",
)
UNAVAILABLE = Kind(
    "database-unavailable",
    503,
    "Database not available",
    unavailable.DOWN,
    5,
)
BUSY = Kind("database-busy", 503, "Busy", unavailable.BUSY, 2)
STOPPING = Kind("service-stopping", 503, "Restarting", unavailable.STOPPING, 2)
CONFLICT = Kind(
    "transaction-conflict",
    503,
    "Conflict with another transaction",
    "Another request was in the way, and nothing was stored. Please try again.",
    1,
)
LOCK_TIMEOUT = Kind(
    "lock-timeout",
    503,
    "Locked by another transaction",
    "Another request is changing the same rows, and nothing was stored. Please try again.",
    1,
)
STATEMENT_TIMEOUT = Kind(
    "statement-timeout", 504, "Took too long", "The database took too long for the request."
)

KINDS = (
    NOT_FOUND,
    UNIQUE,
    FOREIGN_KEY,
    EXCLUSION,
    STALE,
    CHECK,
    NOT_NULL,
    INVALID_VALUE,
    INVALID_CURSOR,
    INVALID_REQUEST,
    INTERNAL,
    COMMIT_OUTCOME_UNKNOWN,
    UNAVAILABLE,
    BUSY,
    STOPPING,
    CONFLICT,
    LOCK_TIMEOUT,
    STATEMENT_TIMEOUT,
)
