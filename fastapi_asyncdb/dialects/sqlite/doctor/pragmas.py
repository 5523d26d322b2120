"""Checks of SQLite itself, and of its settings: those of the file, and those of a connection."""

from __future__ import annotations

import sqlite3

from sqlalchemy import Connection

from fastapi_asyncdb.dialects.doctor import Deployment, Result, fail, ok, warn
from fastapi_asyncdb.dialects.sqlite.doctor.file import path_of

# The first one with RETURNING, which SQLAlchemy uses: https://sqlite.org/lang_returning.html
_OLDEST = (3, 35)
_SYNCHRONOUS = ("OFF", "NORMAL", "FULL", "EXTRA")


def version(connection: Connection, deployment: Deployment) -> Result:
    """Return the version of the library that Python uses."""
    fact = f"SQLite {sqlite3.sqlite_version}."
    if sqlite3.sqlite_version_info >= _OLDEST:
        return ok(fact)
    return fail(fact, "Use a Python with SQLite 3.35 or newer.")


def journal_mode(connection: Connection, deployment: Deployment) -> Result:
    """Return the mode that the file has, which the first start of the application makes ``WAL``."""
    mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar_one()
    if mode == "wal" or path_of(connection) is None:
        return ok(f"The journal mode is {mode}.")
    return warn(
        f"The journal mode is {mode}: readers and the writer wait for each other.",
        "PRAGMA journal_mode=WAL, which each start of the application runs. If it does not last, the "
        "file is on a network file system, which cannot have it: https://sqlite.org/wal.html.",
    )


def pragmas(connection: Connection, deployment: Deployment) -> Result:
    """Return the settings of the application's connections."""
    keys, busy, sync = (
        int(connection.exec_driver_sql(f"PRAGMA {name}").scalar() or 0)
        for name in ("foreign_keys", "busy_timeout", "synchronous")
    )
    synchronous = _SYNCHRONOUS[sync]
    fact = f"foreign_keys={keys}, busy_timeout={busy} ms, synchronous={synchronous}."
    problems = {
        "Foreign keys are not enforced: this SQLite was built without them.": not keys,
        "Writers of other processes fail at once: raise DATABASE_LOCK_TIMEOUT.": not busy,
        "A crash of the machine may damage the file: set PRAGMA synchronous=NORMAL.": not sync,
    }
    found = [words for words, present in problems.items() if present]
    return warn(fact, " ".join(found)) if found else ok(fact)
