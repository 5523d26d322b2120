"""How PostgreSQL is migrated: statements that lock a table wait for a short time, others for long."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import Connection, event, text

from fastapi_asyncdb.dialects.migrations import MigrationSupport
from fastapi_asyncdb.dialects.postgresql.defaults import same_default
from fastapi_asyncdb.dialects.postgresql.migration_lock import migration_lock
from fastapi_asyncdb.dialects.postgresql.new_schemas import create_new_schemas

# Such a statement waits for each older transaction, and nothing waits for it meanwhile. If it stops, it
# leaves an invalid index behind.
# https://www.postgresql.org/docs/current/sql-createindex.html#SQL-CREATEINDEX-CONCURRENTLY
_CONCURRENTLY = re.compile(
    r"\s*(CREATE|DROP|REINDEX|ALTER)\b.*\bCONCURRENTLY\b", re.IGNORECASE | re.DOTALL
)
_TIMEOUT = text("SELECT current_setting('lock_timeout')")
_SET_TIMEOUT = text("SELECT set_config('lock_timeout', :value, false)")
_BEFORE = "fastapi_asyncdb.lock_timeout"


def _prepare(connection: Connection) -> None:
    """Let statements that work concurrently wait for as long as it takes."""
    event.listen(connection, "before_cursor_execute", _wait)
    event.listen(connection, "after_cursor_execute", _restore)


def _wait(connection: Connection, cursor: Any, statement: str, *others: Any) -> None:
    if _CONCURRENTLY.match(statement):
        connection.info[_BEFORE] = connection.scalar(_TIMEOUT)
        connection.execute(_SET_TIMEOUT, {"value": "0"})


def _restore(connection: Connection, cursor: Any, statement: str, *others: Any) -> None:
    if _CONCURRENTLY.match(statement):
        connection.execute(_SET_TIMEOUT, {"value": connection.info.pop(_BEFORE)})


MIGRATIONS = MigrationSupport(
    lock=migration_lock,
    prepare=_prepare,
    same_default=same_default,
    options={"process_revision_directives": create_new_schemas},
)
