"""Deferred constraints: COMMIT checks them, the release of a savepoint does not."""

from __future__ import annotations

from collections.abc import Callable

from fastapi_asyncdb.dialects.registry import family_of
from fastapi_asyncdb.testing.sandbox.connection import SharedConnection

# Checks now, and leaves the mode of each constraint as its definition has it.
# https://www.postgresql.org/docs/current/sql-set-constraints.html
_POSTGRESQL = """\
DO $$
DECLARE names text;
BEGIN
    SET CONSTRAINTS ALL IMMEDIATE;
    SELECT string_agg(DISTINCT format('%I.%I', n.nspname, c.conname), ', ') INTO names
    FROM pg_constraint c JOIN pg_namespace n ON n.oid = c.connamespace
    WHERE c.condeferred AND NOT EXISTS (  -- whose name is another's, too, which cannot be deferred
        SELECT FROM pg_constraint o
        WHERE (o.conname, o.connamespace) = (c.conname, c.connamespace) AND NOT o.condeferrable
    );
    IF names IS NOT NULL THEN
        EXECUTE 'SET CONSTRAINTS ' || names || ' DEFERRED';
    END IF;
END $$"""
_SQLITE_HAS_DEFERRED = "SELECT 1 FROM sqlite_master WHERE sql LIKE '%DEFERRABLE%' LIMIT 1"
_SQLITE_VIOLATIONS = "SELECT count(*) FROM pragma_foreign_key_check"


def check_of(shared: SharedConnection) -> Callable[[], None]:
    """Return a function that checks them, and raises the driver's own ``IntegrityError``."""
    if family_of(shared.dialect.name) == "postgresql":
        return lambda: shared.run(_POSTGRESQL)
    if family_of(shared.dialect.name) == "sqlite":
        return _SQLite(shared)
    return lambda: None


class _SQLite:
    """Check foreign keys: SQLite keeps its count of violations private, and reads it only at COMMIT."""

    def __init__(self, shared: SharedConnection) -> None:
        self._shared = shared

    def __call__(self) -> None:
        deferring = self._shared.ask("PRAGMA defer_foreign_keys")
        if deferring:  # which ends with the transaction
            self._shared.run("PRAGMA defer_foreign_keys = OFF")
        if not deferring and not self._shared.ask(_SQLITE_HAS_DEFERRED):
            return
        if self._shared.ask(_SQLITE_VIOLATIONS):
            raise self._shared.dialect.loaded_dbapi.IntegrityError("FOREIGN KEY constraint failed")
