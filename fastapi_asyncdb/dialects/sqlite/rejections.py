"""Why SQLite rejected a statement, by its extended code.

The names of tables and columns are in the message only: "UNIQUE constraint failed: users.email". SQLite
neither translates its messages nor has another place for them, and what the message means is decided
by the code. https://sqlite.org/rescode.html
"""

from __future__ import annotations

import re

from fastapi_asyncdb.dialects.rejection import Rejection, RejectionKind

_KINDS: dict[str, RejectionKind] = {
    "SQLITE_CANTOPEN": "unavailable",
    "SQLITE_CONSTRAINT_CHECK": "check",
    "SQLITE_CONSTRAINT_DATATYPE": "value",
    "SQLITE_CONSTRAINT_FOREIGNKEY": "foreign key",
    "SQLITE_CONSTRAINT_NOTNULL": "not null",
    "SQLITE_CONSTRAINT_PRIMARYKEY": "unique",
    "SQLITE_CONSTRAINT_ROWID": "unique",
    "SQLITE_CONSTRAINT_UNIQUE": "unique",
    "SQLITE_FULL": "unavailable",
    "SQLITE_MISMATCH": "value",
    "SQLITE_TOOBIG": "value",
}
_IO_ERROR = "SQLITE_IOERR"
"""And all that begin with it."""
_COLUMN = re.compile(r"(\S+)\.(\S+?)(?:,|$)")
_INDEX = re.compile(r"index '(.+)'$")
_NAME = re.compile(r"[\w$-]+")
"""Of a check without a name, SQLite says the SQL instead, which is nothing for a client."""


def rejection_of(error: BaseException) -> Rejection | None:
    """Return why SQLite rejected a statement; ``None`` if it did not, or if unknown."""
    driver = getattr(error, "orig", None) or error
    code = getattr(driver, "sqlite_errorname", None)
    if not isinstance(code, str):
        return None
    kind = "unavailable" if code.startswith(_IO_ERROR) else _KINDS.get(code)
    if kind is None:
        return None
    _, _, named = str(driver).partition("constraint failed: ")
    if kind == "check":
        return Rejection(kind, code, constraint=named if _NAME.fullmatch(named) else None)
    index = _INDEX.match(named)
    columns = _COLUMN.findall(named)
    return Rejection(
        kind,
        code,
        constraint=index[1] if index else None,
        table=columns[0][0] if columns else None,
        columns=tuple(column for _, column in columns),
    )
