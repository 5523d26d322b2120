"""SQLite's lock of one migrator: a file beside the database, which the system unlocks with the process.

The database itself cannot be locked for several transactions.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

from sqlalchemy.ext.asyncio import AsyncEngine

from fastapi_asyncdb.settings import DatabaseSettings

_SUFFIX = ".migration-lock"


class FileLock:
    """The lock of a file, in SQLite's own way, which is the same on every system.

    Args:
        path: The path of the database; empty for one in memory, which no other process has.
    """

    def __init__(self, path: str) -> None:
        self.path = path and path + _SUFFIX
        self._file = sqlite3.connect(self.path or ":memory:", isolation_level=None, timeout=0)

    async def take(self) -> bool:
        """Take the lock if it is free; return whether it was."""
        try:
            self._file.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
            return False
        return True

    async def holder(self) -> str:
        """Return which process has it, for a message."""
        return f"the process that has locked {self.path}"

    async def is_held(self) -> bool:
        """Return whether this process has it."""
        return self._file.in_transaction

    async def release(self) -> None:
        """Release the lock. The file stays: another process may be about to lock it."""
        self._file.execute("ROLLBACK")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@asynccontextmanager
async def migration_lock(
    write: AsyncEngine, read: AsyncEngine, settings: DatabaseSettings
) -> AsyncIterator[FileLock]:
    """Open the file of the lock."""
    async with read.connect() as connection:
        databases = await connection.exec_driver_sql("PRAGMA database_list")
        path = next(row.file for row in databases if row.name == "main")
    with closing(FileLock(path)) as lock:
        yield lock
