"""How SQLite is migrated: in transactions, by copies of tables."""

from __future__ import annotations

from sqlalchemy import Connection

from fastapi_asyncdb.dialects.migrations import MigrationSupport
from fastapi_asyncdb.dialects.sqlite.migration_lock import migration_lock


def _prepare(connection: Connection) -> None:
    """Let a table be dropped to which rows of others refer: batch mode copies it, and drops the old one.

    https://www.sqlite.org/lang_altertable.html#otheralter
    """
    if not connection.in_transaction():
        connection.connection.cursor().execute("PRAGMA foreign_keys=OFF")


MIGRATIONS = MigrationSupport(
    lock=migration_lock,
    prepare=_prepare,
    # Alembic says that there is no transactional DDL: Python's driver had none.
    options={"render_as_batch": True, "transactional_ddl": True},
)
