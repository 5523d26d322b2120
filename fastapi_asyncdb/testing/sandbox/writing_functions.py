"""Functions that may write, in queries: looked up in the catalog of the server."""

from __future__ import annotations

import re

from fastapi_asyncdb.dialects.registry import family_of
from fastapi_asyncdb.engine.read_only import statements_in
from fastapi_asyncdb.testing.sandbox.connection import SharedConnection
from fastapi_asyncdb.testing.sandbox.savepoint_stack import Savepoint

_CALL = re.compile(r"(\w+)\s*\(")
# VOLATILE is the default; the server's own are left out: what nextval() does is not rolled back.
# https://www.postgresql.org/docs/current/xfunc-volatility.html
_POSTGRESQL = """\
SELECT EXISTS (
    SELECT FROM pg_proc WHERE proname IN ({names})
    AND provolatile = 'v' AND pronamespace <> 'pg_catalog'::regnamespace
)"""

# CONTAINS SQL is the default.
# https://mariadb.com/docs/server/server-usage/stored-routines/stored-functions/create-function
_MYSQL = """\
SELECT EXISTS (
    SELECT 1 FROM information_schema.routines WHERE routine_name IN ({names})
    AND routine_type = 'FUNCTION' AND sql_data_access IN ('CONTAINS SQL', 'MODIFIES SQL DATA')
    AND is_deterministic = 'NO' AND routine_schema = DATABASE()
)"""

_MAY_WRITE = {"postgresql": _POSTGRESQL, "mysql": _MYSQL}


def calls_writer(shared: SharedConnection, statement: str, savepoint: Savepoint) -> bool:
    """Return whether a query may write, if another session's rollback could undo it.

    Args:
        shared: The connection.
        statement: The query.
        savepoint: Of the transaction that it runs in.
    """
    may_write = _MAY_WRITE.get(family_of(shared.dialect.name))
    if may_write is None or shared.savepoints.is_alone(savepoint):
        return False
    names = {name.lower() for part in statements_in(statement) for name in _CALL.findall(part)}
    quoted = ", ".join(f"'{name}'" for name in sorted(names))
    return bool(names and shared.ask(may_write.format(names=quoted)))
