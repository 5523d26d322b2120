"""How MySQL and MariaDB are migrated: each change of the schema is committed by itself."""

from __future__ import annotations

from sqlalchemy import Connection

from fastapi_asyncdb.dialects.migrations import MigrationSupport
from fastapi_asyncdb.dialects.mysql.defaults import same_default
from fastapi_asyncdb.dialects.mysql.drops import arrange_drops
from fastapi_asyncdb.dialects.mysql.implicit_commits import ALLOWED, commits
from fastapi_asyncdb.dialects.mysql.migration_lock import migration_lock


def _allow_commits(connection: Connection) -> None:
    connection.execution_options(**{ALLOWED: True})


MIGRATIONS = MigrationSupport(
    lock=migration_lock,
    commits=commits,
    prepare=_allow_commits,
    same_default=same_default,
    options={"process_revision_directives": arrange_drops},
)
