"""What SQLite's errors mean: for a transaction, and for a connection that cannot be made. Pure."""

from __future__ import annotations

from fastapi_asyncdb.dialects.base import Diagnosis
from fastapi_asyncdb.tracebacks import causes

# SQLITE_BUSY, SQLITE_LOCKED; the extended codes have them in the lowest byte:
# https://sqlite.org/rescode.html
_CONFLICTS = {5, 6}
_LOWEST_BYTE = 0xFF


def is_conflict(error: BaseException) -> bool | None:
    """Return whether the transaction may succeed when it is run again; ``None`` for unknown errors."""
    code = getattr(error, "sqlite_errorcode", None)
    return code & _LOWEST_BYTE in _CONFLICTS if isinstance(code, int) else None


def diagnose(error: BaseException) -> Diagnosis:
    """Return the cause and the next step: a missing folder, a locked file."""
    text = " ".join(str(cause) for cause in causes(error)).lower()
    for words, diagnosis in _DIAGNOSES.items():
        if words in text:
            return diagnosis
    return Diagnosis("Check the path in the database settings", permanent=True)


_DIAGNOSES = {
    "locked": Diagnosis("Another process has the file's write lock: wait for it, or end it"),
    "unable to open": Diagnosis(
        "The folder of the file does not exist or may not be written: create it, or correct the "
        "path in the database settings (a URL has three slashes before a relative path, four before an "
        "absolute one)",
        permanent=True,
    ),
    "readonly": Diagnosis(
        "The file or its folder may not be written: WAL keeps two more files beside it",
        permanent=True,
    ),
    "not a database": Diagnosis(
        "The file exists and is something else: correct the path in the database settings",
        permanent=True,
    ),
}
