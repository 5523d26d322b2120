"""Errors of Alembic and of revisions, as errors of the library: the fact, the cause, the next step."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError

from fastapi_asyncdb.dialects import rejection_of
from fastapi_asyncdb.dialects.mysql.errors import number_of
from fastapi_asyncdb.errors import AsyncDBError, MigrationError, MigrationFailed

if TYPE_CHECKING:
    from alembic.script import ScriptDirectory

# insufficient_privilege; invalid_schema_name, also if the role sees no schema to create tables in.
# https://www.postgresql.org/docs/current/errcodes-appendix.html
_NO_RIGHTS, _NO_SCHEMA = "42501", "3F000"
# ER_DBACCESS_DENIED_ERROR, ER_TABLEACCESS_DENIED_ERROR, ER_SPECIFIC_ACCESS_DENIED_ERROR
# https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html
_NO_RIGHTS_ON_MYSQL = {1044, 1142, 1227}
# ER_DUP_FIELDNAME, ER_DUP_KEYNAME, ER_FK_DUP_NAME
_EXIST_ON_MYSQL = {1060, 1061, 1826}
_RIGHTS = (
    "The role may not change the schema. Set DATABASE_MIGRATION_URL to a URL with the role that owns "
    "the tables."
)
_SCHEMA = (
    "There is no such schema, or the role may use none. Create it before its tables, with "
    "op.execute('CREATE SCHEMA IF NOT EXISTS ...'), or set DATABASE_MIGRATION_URL to a URL with the "
    "role that owns the tables."
)
_ONE_STATEMENT = "The driver runs one statement at a time: call op.execute() for each of them."
_NO_NAME = (
    "The models give it none. Derive them from a base with a naming convention, such as "
    "fastapi_asyncdb.models.Base. For a constraint that exists already without a name see "
    "docs/migrations.md#names-of-constraints."
)
_HALF_DONE = (
    "A part of it is done and stays, because the database commits each change of its schema by itself: "
    "{}. The next attempt begins with the first statement again: undo these by hand before, or take "
    "them out of the revision; or do the rest by hand, and note it with 'asyncdb stamp REVISION'."
)
_AUTOCOMMIT = "It failed in an autocommit block."
_NO_LENGTH = (
    "VARCHAR needs a length on MySQL. Write it in the revision and the model: String(255), or Text."
)
_EXISTS = (
    "The schema has it already: something else has made it, such as auto_create_tables, another "
    "migration tool, or on MySQL an earlier attempt. If it is that of a revision, say so with "
    "'asyncdb stamp REVISION' ('asyncdb check' shows differences); otherwise start with an empty "
    "database."
)


def explained(error: Exception, scripts: ScriptDirectory, stay: str | None = None) -> Exception:
    """Return the error to raise for one that a command of Alembic has raised.

    Args:
        error: The error.
        scripts: The revisions, to find the one that failed.
        stay: Statements of it that no rollback has undone.
    """
    if isinstance(error, AsyncDBError) and not isinstance(error, DBAPIError):
        return error
    if isinstance(error, CommandError):
        return MigrationError(described(error))
    revision = failed_revision(error, scripts)
    cause = f"{type(error).__name__}: {str(getattr(error, 'orig', None) or error).strip()}"
    if revision is not None:
        name, place = revision
        return MigrationFailed(
            f"Revision {name} failed, at {place}: {cause}. {_extent(error, stay)} {_advice(error)}"
        )
    if isinstance(error, DBAPIError):
        return MigrationError(f"The database refuses the command: {cause}. {_advice(error)}")
    return error


def is_lock_timeout(error: BaseException) -> bool:
    """Return whether a statement has waited for a lock for longer than ``migration_lock_timeout``."""
    rejection = rejection_of(error)
    return rejection is not None and rejection.kind == "lock timeout"


def failed_revision(error: BaseException, scripts: ScriptDirectory) -> tuple[str, str] | None:
    """Return the revision that raised an error, and the file and line; ``None`` if none did."""
    by_path = {str(Path(each.path)): each.revision for each in scripts.walk_revisions()}
    found = None
    for frame, line in traceback.walk_tb(error.__traceback__):
        path = frame.f_code.co_filename
        if path in by_path:
            found = (by_path[path], f"{Path(path).name}:{line}")
    return found


def described(error: CommandError) -> str:
    """Return the message of an error of Alembic's with the next step."""
    # Alembic says that it cannot locate a revision also when it has located several.
    cause = str(error.__cause__)
    more_exact = cause.startswith(("Multiple revisions start with", "Relative revision"))
    message = (cause if more_exact else str(error)).strip().rstrip(".")
    if message.startswith("Multiple revisions"):
        return f"{message}. Write more of it. 'asyncdb history' lists the revisions."
    unknown = re.search(r"Can't locate revision identified by '([^']*)'", message)
    if unknown:
        return (
            f"This code has no revision {unknown[1]!r}. If the database is at it, a newer release has "
            "migrated it: run the commands of that release. If it is in a branch that was not merged, "
            "merge it first. If another project shares the database, give each its own "
            "version_table. 'asyncdb history' lists the revisions of this code."
        )
    if "ultiple head" in message:
        return (
            f"{message}. Two branches have each added a revision: join them with 'asyncdb merge', or "
            "name one of them, or 'heads' for both."
        )
    if "not up to date" in message:
        return f"{message}: it lacks revisions that this code has. Run 'asyncdb upgrade' first."
    if "does not provide a MetaData object" in message:
        return (
            "There are no models to compare with: no line names them. Add the line metadata = "
            '"app.models:Base.metadata" to [tool.fastapi-asyncdb] in pyproject.toml.'
        )
    if message.startswith("Relative revision"):
        return (
            f"{message}: there are not so many from where the database is. 'asyncdb history -i' lists "
            "the revisions and marks that of the database."
        )
    return f"Alembic refuses the command: {message}. 'asyncdb history' lists the revisions."


def _extent(error: BaseException, stay: str | None) -> str:
    if stay is not None:
        return _HALF_DONE.format(stay)
    if not can_run_again(error):
        return (
            f"{_AUTOCOMMIT} What it did before, and a half-built index, stay: undo that by hand before "
            "the next attempt."
        )
    return "It was rolled back; the revisions before it stay."


def mark_autocommit_errors(context: Any) -> None:
    """Mark errors that leave an ``autocommit_block()``: nothing rolls back what was done in it.

    Args:
        context: Alembic's ``MigrationContext``.
    """
    autocommit_block = context.autocommit_block

    @contextmanager
    def marking() -> Iterator[None]:
        with autocommit_block():
            try:
                yield
            except Exception as error:
                error.add_note(_AUTOCOMMIT)
                raise

    context.autocommit_block = marking


def can_run_again(error: BaseException) -> bool:
    """Return whether the failed revision has left nothing behind."""
    return _AUTOCOMMIT not in getattr(error, "__notes__", ())


def _advice(error: BaseException) -> str:
    driver = getattr(error, "orig", None)
    if "Constraint must have a name" in str(error):
        return _NO_NAME
    sqlstate = getattr(driver, "sqlstate", None)
    if sqlstate in (_NO_RIGHTS, _NO_SCHEMA):
        return _RIGHTS if sqlstate == _NO_RIGHTS else _SCHEMA
    if number_of(error) in _NO_RIGHTS_ON_MYSQL:
        return _RIGHTS
    if "VARCHAR requires a length" in str(error):
        return _NO_LENGTH
    if "multiple commands" in str(driver):
        return _ONE_STATEMENT
    if "already exists" in str(driver) or number_of(error) in _EXIST_ON_MYSQL:
        return _EXISTS
    if is_lock_timeout(error):
        return (
            "Another transaction held a lock for longer than DATABASE_MIGRATION_LOCK_TIMEOUT, in each "
            "of the attempts. 'asyncdb doctor' shows long transactions: end them, or migrate when the "
            "load is lower."
        )
    return "Correct the revision, and run the command again."
