"""Statements that would end the transaction of a sandbox, and those that a rollback does not undo."""

from __future__ import annotations

import re

from sqlalchemy.engine.interfaces import Dialect

from fastapi_asyncdb.engine.read_only import statements_in
from fastapi_asyncdb.errors import SandboxError
from fastapi_asyncdb.testing.sandbox.mysql import is_mysql

# Savepoints of the user's own are allowed. SQLite skips a byte order mark.
_ENDS = re.compile(
    r"[\s\ufeff]*(?:begin|start\s+transaction|commit|end|abort|prepare\s+transaction"
    r"|rollback(?!\s+(?:(?:transaction|work)\s+)?to\b))\b",
    re.IGNORECASE,
)
# https://mariadb.com/docs/server/reference/sql-statements/transactions/sql-statements-that-cause-an-implicit-commit
_MYSQL_COMMITS = re.compile(
    r"\s*(?:(?:create(?:\s+or\s+replace)?|drop)\s+(?!temporary\b|or\s+replace\b)\w+"
    r"|alter|truncate|rename|grant|revoke|flush|reset|xa|install|uninstall|shutdown"
    r"|(?:analyze|check|optimize|repair)\s+(?:(?:no_write_to_binlog|local)\s+)?tables?"
    r"|(?:lock|unlock)\s+tables?|(?:cache|load)\s+index"
    r"|set\s+(?:session\s+|local\s+|@@(?:session\.|local\.)?)?(?:autocommit|password))\b",
    re.IGNORECASE,
)
# Of asyncpg's plans for tables that have changed.
_DDL = re.compile(r"\s*(?:create|alter|drop|do|call)\b", re.IGNORECASE)
# Variables, temporary tables, the current database.
_MYSQL_STAYS = re.compile(r"\s*(?:set|use|create|drop|prepare|call)\b", re.IGNORECASE)
_LOCKS = re.compile(r"\b(?:pg_(?:try_)?advisory_lock|get_lock)", re.IGNORECASE)


def refuse_end(statement: str, dialect: Dialect) -> None:
    """Refuse SQL that would end the transaction.

    Raises:
        SandboxError: the statement is ``COMMIT`` or the like; on MySQL, it changes the schema.
    """
    # Comments are nested in PostgreSQL, and not in SQLite.
    parts = [part for each in statements_in(statement) for part in each.split("*/")]
    words = " ".join(statement.split()[:2])
    if any(map(_ENDS.match, parts)):
        raise SandboxError(
            f"{words} would end the transaction that the sandbox rolls back, and with it the "
            "isolation of the tests. Use the session's commit() and rollback(), or test this "
            "with isolated_database."
        )
    if is_mysql(dialect) and any(map(_MYSQL_COMMITS.match, parts)):
        raise SandboxError(
            f"{words} would commit the transaction that the sandbox rolls back: MySQL and MariaDB do "
            "so with each statement that changes the schema. Create tables before the sandbox begins, "
            "or test this with isolated_database."
        )


def taints(statement: str, dialect: Dialect) -> bool:
    """Return whether a statement leaves something on the connection that a rollback does not undo."""
    parts = statements_in(statement)
    return (
        _LOCKS.search(statement) is not None
        or (dialect.driver == "asyncpg" and any(map(_DDL.match, parts)))
        or (is_mysql(dialect) and any(map(_MYSQL_STAYS.match, parts)))
    )
