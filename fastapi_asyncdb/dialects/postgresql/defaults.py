"""Whether two server defaults of a column have the same value."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.types import TypeEngine

_READ_ONLY = text("SET LOCAL transaction_read_only = on")


def same_default(connection: Connection, kind: TypeEngine[Any], stored: str, wanted: str) -> bool:
    """Return whether the server computes the same value of both, in the type of the column.

    Both are computed in a savepoint that allows no writes: ``nextval()`` would take a number. They are
    compared as text, as JSON has no comparison.

    Args:
        connection: In a transaction, or in none.
        kind: The type of the column, as the database has it.
        stored: The default of the database.
        wanted: That of the models, as SQL.
    """
    name = kind.compile(connection.dialect)
    values = (f"CAST(CAST(({each}) AS {name}) AS text)" for each in (stored, wanted))
    savepoint = connection.begin_nested()
    try:
        connection.execute(_READ_ONLY)
        statement = "SELECT " + " IS NOT DISTINCT FROM ".join(values)  # noqa: S608 - the models' own
        # A colon in a default names no parameter.
        return bool(connection.scalar(text(statement.replace(":", r"\:"))))
    except DBAPIError:
        return False
    finally:
        savepoint.rollback()
