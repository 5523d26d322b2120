"""Checks of what is in SQLite's file: its pages, and the values of foreign keys."""

from __future__ import annotations

from collections import Counter

from sqlalchemy import Connection

from fastapi_asyncdb.dialects.doctor import Deployment, Result, fail, listed, ok

_MOST = 100


def integrity(connection: Connection, deployment: Deployment) -> Result:
    """Look through all pages: https://sqlite.org/pragma.html#pragma_quick_check."""
    rows = connection.exec_driver_sql(f"PRAGMA quick_check({_MOST})").scalars().all()
    if list(rows) == ["ok"]:
        return ok("All pages of the file are as they should be.")
    lines = [line for row in rows for line in str(row).splitlines() if not line.startswith("***")]
    return fail(
        f"The file is damaged: {listed(lines)}.",
        "Stop the application, copy the file with its -wal, and restore a backup, or save what can be "
        "read: sqlite3 FILE .recover | sqlite3 NEW. Causes: https://sqlite.org/howtocorrupt.html.",
    )


def foreign_key_values(connection: Connection, deployment: Deployment) -> Result:
    """Return rows that refer to none: https://sqlite.org/pragma.html#pragma_foreign_key_check."""
    rows = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchmany(_MOST)
    if not rows:
        return ok("Each foreign key refers to a row.")
    found = Counter((row[0], row[2]) for row in rows)
    more = " or more" if len(rows) == _MOST else ""
    names = listed([f"{count} of {table} to {parent}" for (table, parent), count in found.items()])
    return fail(
        f"{len(rows)}{more} rows refer to rows that do not exist: {names}.",
        "They were written without PRAGMA foreign_keys=ON, by another program perhaps. "
        "PRAGMA foreign_key_check lists them: correct or delete them.",
    )
