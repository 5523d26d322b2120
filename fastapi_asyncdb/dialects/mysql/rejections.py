"""Why MySQL or MariaDB rejected a statement, by number, with the names in the message.

The names are nowhere else, and the server may be set to another language; what the message means is
decided by the number.
https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html
"""

from __future__ import annotations

import re
from dataclasses import replace

from sqlalchemy.exc import DBAPIError

from fastapi_asyncdb.dialects.mysql.errors import number_of
from fastapi_asyncdb.dialects.rejection import Rejection, RejectionKind

_KINDS: dict[int, RejectionKind] = {
    1021: "unavailable",  # disk full
    1041: "unavailable",  # out of resources
    1048: "not null",
    1062: "unique",
    1114: "unavailable",  # the table is full
    1205: "lock timeout",
    1216: "foreign key",
    1217: "foreign key",
    1264: "value",  # out of range
    1265: "value",  # truncated, as an ENUM's
    1292: "value",  # truncated wrong value
    1364: "not null",  # no default
    1365: "value",  # division by zero
    1366: "value",  # truncated wrong value for a column
    1406: "value",  # too long
    1451: "foreign key",
    1452: "foreign key",
    1557: "foreign key",  # ON UPDATE CASCADE would make a duplicate
    1586: "unique",
    1690: "value",  # BIGINT or DOUBLE out of range
    1969: "statement timeout",  # MariaDB's
    3024: "statement timeout",  # MySQL's
    3140: "value",  # invalid JSON
    3572: "lock timeout",  # NOWAIT
    3819: "check",  # MySQL's
    4025: "check",  # MariaDB's
}
# "Duplicate entry '1' for key 'users.email'": MySQL names the table, MariaDB does not.
_KEY = re.compile(r"'(?:([^'.]*)\.)?([^'.]+)'$")
# The message names the table of the constraint first, then its columns.
_FOREIGN_KEY = re.compile(r"`([^`]+)`, CONSTRAINT `([^`]+)` FOREIGN KEY \(([^)]+)\)")
# "CONSTRAINT `rooms.size` failed for `shop`.`rooms`": of MariaDB, where it was declared with its column.
_CHECK = re.compile(r"(?:CONSTRAINT|constraint) [`'](?:([^`'.]+)\.)?([^`']+)[`']")
# The last one: what stands before may be a value.
_COLUMN = re.compile(r".*(?:[Cc]olumn|[Ff]ield) (?:'|`[^`]+`\.`[^`]+`\.`)([^'`]+)['`]", re.DOTALL)
# Most messages do not name the table.
_TABLE = re.compile(
    r"\s*(?:INSERT\s+(?:IGNORE\s+)?INTO|REPLACE\s+INTO|UPDATE)\s+(?:`[^`]+`\.|\w+\.)?(?:`([^`]+)`|(\w+))",
    re.IGNORECASE,
)


def rejection_of(error: BaseException) -> Rejection | None:
    """Return why the server rejected a statement; ``None`` if it did not, or if unknown."""
    if not isinstance(error, DBAPIError) or error.orig is None:
        return None
    number = number_of(error)
    kind = _KINDS.get(number) if number is not None else None
    if kind is None:
        return None
    written = _TABLE.match(error.statement or "")
    rejection = Rejection(kind, str(number), table=written and (written[1] or written[2]))
    return _with_names(rejection, str(error.orig.args[-1]))


def _with_names(rejection: Rejection, message: str) -> Rejection:
    kind = rejection.kind
    if kind == "unique" and (key := _KEY.search(message)):
        return replace(rejection, constraint=key[2], table=key[1] or rejection.table)
    if kind == "foreign key" and (named := _FOREIGN_KEY.search(message)):
        columns = tuple(column.strip(" `") for column in named[3].split(","))
        return replace(rejection, constraint=named[2], table=named[1], columns=columns)
    if kind == "check" and (named := _CHECK.search(message)):
        columns = (named[2],) if named[1] else ()
        return replace(rejection, constraint=named[2], columns=columns)
    if kind in ("not null", "value") and (column := _COLUMN.match(message)):
        return replace(rejection, columns=(column[1],))
    return rejection
