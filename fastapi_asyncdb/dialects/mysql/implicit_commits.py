"""Statements that commit the transaction in which they run, and themselves."""

from __future__ import annotations

import re
from typing import Any, cast

from sqlalchemy.engine.interfaces import ExecutionContext

from fastapi_asyncdb.dialects.mysql.errors import number_of
from fastapi_asyncdb.errors import ImplicitCommit

ALLOWED = "fastapi_asyncdb_implicit_commits"
"""The execution option of connections whose transactions may be committed by a statement."""

# What is temporary belongs to a session. https://dev.mysql.com/doc/refman/8.4/en/implicit-commit.html
# https://mariadb.com/kb/en/sql-statements-that-cause-an-implicit-commit/
_COMMITS = re.compile(
    r"""(?: \s | /\*(?!M?!).*?\*/ | (?:--\s|\#)[^\n]*\n )*
    (?: (?: ALTER | ANALYZE | BEGIN | CACHE | CHECK | COMMIT | FLUSH | GRANT | INSTALL | LOCK | OPTIMIZE
        | RENAME | REPAIR | RESET | REVOKE | START | TRUNCATE | UNINSTALL | UNLOCK ) \b
    | (?: CREATE (?: \s+ OR \s+ REPLACE )? | DROP ) \s+ (?! TEMPORARY \b )
    | SET \s+ PASSWORD \b )""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
_READS = re.compile(
    r"\s*(?:SELECT|SHOW|DESC|DESCRIBE|EXPLAIN|SET|USE|SAVEPOINT|RELEASE|ROLLBACK|KILL)\b",
    re.IGNORECASE,
)
_NOT_READ = 1064
"""ER_PARSE_ERROR"""


def commits(statement: str, error: BaseException | None = None) -> bool:
    """Return whether a statement commits the transaction in which it runs.

    Args:
        statement: The statement.
        error: With which it failed. It has committed what came before it nevertheless, unless the
            server could not read it.
    """
    unread = error is not None and number_of(error) == _NOT_READ
    return not unread and _COMMITS.match(statement) is not None


def refuse_in_transaction(statement: str, context: ExecutionContext) -> None:
    """Refuse a statement that would commit what a later failure is to undo; note one that changes rows.

    Raises:
        ImplicitCommit: the transaction has changed rows.
    """
    known: Any = context
    driver = _driver_of(context)
    if driver.server_thread.in_autocommit:
        return
    if known.isinsert or known.isupdate or known.isdelete:
        driver.has_changed = True
    elif known.isddl or known.is_text or known.compiled is None:
        _look_at_text(statement, driver, context)


def _look_at_text(statement: str, driver: Any, context: ExecutionContext) -> None:
    if not commits(statement):
        driver.has_changed |= _READS.match(statement) is None
    elif driver.has_changed and not context.execution_options.get(ALLOWED):
        raise ImplicitCommit(
            f"{' '.join(statement.split()[:2])} commits the transaction on MySQL and MariaDB, and this "
            "one has uncommitted changes, which no later failure could undo. Call 'await db.commit()' "
            "first, or change tables in a migration."
        )


def _driver_of(context: ExecutionContext) -> Any:
    return cast(Any, context.root_connection.connection.dbapi_connection).driver_connection
