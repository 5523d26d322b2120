"""Functions that may write, in queries: looked up in PostgreSQL's catalog."""

from __future__ import annotations

import re

from fastapi_asyncdb.engine.read_only import statements_in
from fastapi_asyncdb.testing.sandbox.connection import SharedConnection
from fastapi_asyncdb.testing.sandbox.savepoint_stack import Savepoint

_CALL = re.compile(r"(\w+)\s*\(")
# VOLATILE is the default; the server's own are left out: what nextval() does is not rolled back.
# https://www.postgresql.org/docs/current/xfunc-volatility.html
_MAY_WRITE = """\
SELECT EXISTS (
    SELECT FROM pg_proc WHERE proname IN ({names})
    AND provolatile = 'v' AND pronamespace <> 'pg_catalog'::regnamespace
)"""


def calls_writer(shared: SharedConnection, statement: str, savepoint: Savepoint) -> bool:
    """Return whether a query may write, if another session's rollback could undo it.

    Args:
        shared: The connection.
        statement: The query.
        savepoint: Of the transaction that it runs in.
    """
    if shared.dialect.name != "postgresql" or shared.savepoints.is_alone(savepoint):
        return False
    names = {name.lower() for part in statements_in(statement) for name in _CALL.findall(part)}
    quoted = ", ".join(f"'{name}'" for name in sorted(names))
    return bool(names and shared.ask(_MAY_WRITE.format(names=quoted)))
