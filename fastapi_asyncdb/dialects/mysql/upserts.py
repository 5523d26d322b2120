"""MySQL's and MariaDB's upserts, which know no conflict target: any unique key of the table counts."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ClauseElement, Column, ColumnElement, literal, literal_column
from sqlalchemy.sql.dml import Insert

from fastapi_asyncdb.dialects.bulk import Upsert
from fastapi_asyncdb.errors import ConfigurationError


def on_duplicate_key(upsert: Upsert) -> Insert:
    """Return ``INSERT ... ON DUPLICATE KEY UPDATE``, without any values.

    https://dev.mysql.com/doc/refman/8.4/en/insert-on-duplicate.html

    Raises:
        ConfigurationError: there is a ``conflict_where``, or only some rows may be updated.
    """
    if upsert.only is not None:
        raise ConfigurationError(
            "MySQL cannot restrict the rows that an upsert updates, so a repository with conditions() "
            "has no upserts there. Look for the row with FOR UPDATE, then insert or update it."
        )
    if upsert.where is not None:
        raise ConfigurationError(
            "MySQL has no partial unique indexes, so conflict_where has no meaning there. Leave it out, "
            "and put what it tests into a column of the unique key."
        )
    # Imported here: most applications have another database.
    from sqlalchemy.dialects.mysql import insert

    into = insert(upsert.table)
    if not upsert.update:
        # INSERT IGNORE would ignore all other errors too. A column that keeps its value is no update.
        column = upsert.conflict[0]
        return into.on_duplicate_key_update({column.key: column})
    new = {column.key: into.inserted[column.key] for column in upsert.update}
    return into.on_duplicate_key_update(
        new | {column.key: _literal(column, value) for column, value in upsert.also.items()}
    )


def _literal(column: Column[Any], value: Any) -> ColumnElement[Any]:
    """Return a value or an expression without parameters.

    The drivers' executemany() makes one statement of many rows, and has parameters in VALUES only.
    """
    from sqlalchemy.dialects.mysql import dialect

    expression = value if isinstance(value, ClauseElement) else literal(value, column.type)
    return literal_column(
        str(expression.compile(dialect=dialect(), compile_kwargs={"literal_binds": True}))
    )
