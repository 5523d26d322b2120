"""Whether two server defaults of a column have the same value, on MySQL and MariaDB."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import Connection, Float, Integer, Numeric, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.types import TypeEngine

# SQLAlchemy has both in the text of a default.
_ON_UPDATE = re.compile(r"\s+ON\s+UPDATE\s+", re.IGNORECASE)
# Of a sequence, it would take a number.
_NEXT = re.compile(r"\bNEXT(VAL\b|\s+VALUE\b)", re.IGNORECASE)


def same_default(connection: Connection, kind: TypeEngine[Any], stored: str, wanted: str) -> bool:
    """Return whether the server computes the same value of both; those of ON UPDATE likewise.

    Args:
        connection: In a transaction, or in none.
        kind: The type of the column, as the database has it.
        stored: The default of the database.
        wanted: That of the models, as SQL.
    """
    old, new = _ON_UPDATE.split(stored), _ON_UPDATE.split(wanted)
    return len(old) == len(new) and all(
        _same(connection, kind, *pair) for pair in zip(old, new, strict=True)
    )


def _same(connection: Connection, kind: TypeEngine[Any], stored: str, wanted: str) -> bool:
    if _NEXT.search(stored) or _NEXT.search(wanted):
        return False
    pair = " <=> ".join(_comparable(kind, each) for each in (stored, wanted))
    try:
        # A colon in a default names no parameter.
        return bool(connection.scalar(text(f"SELECT {pair}".replace(":", r"\:"))))
    except DBAPIError:
        return False


def _comparable(kind: TypeEngine[Any], default: str) -> str:
    """Return a value that is compared as the column has it: texts by their bytes, numbers as numbers."""
    if isinstance(kind, Float):
        return f"(({default}) + 0e0)"
    if isinstance(kind, (Integer, Numeric)):
        # https://dev.mysql.com/doc/refman/8.4/en/precision-math-decimal-characteristics.html
        return f"CAST(({default}) AS DECIMAL(65, 30))"
    return f"CAST(({default}) AS BINARY)"
