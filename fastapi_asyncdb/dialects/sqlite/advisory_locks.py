"""SQLite's only lock, that of the one writer: it stands for the lock of any key."""

from __future__ import annotations

from sqlalchemy import Connection, event

from fastapi_asyncdb.dialects.sqlite.transactions import begin_immediate


class WriteLock:
    """The lock of the whole database, which a writing session of the library has from its begin."""

    def lock(self, connection: Connection, key: str | int) -> None:
        """Take the lock, if the begin of the transaction has not: that of another engine's session.

        A transaction that has begun without the lock gets it with its first write, as of this pragma.
        https://sqlite.org/lang_transaction.html#deferred_immediate_and_exclusive_transactions
        """
        driver = connection.connection.driver_connection
        if driver is not None and not driver.in_transaction:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        elif not event.contains(connection.engine, "begin", begin_immediate):
            version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
            connection.exec_driver_sql(f"PRAGMA user_version = {version:d}")

    def try_lock(self, connection: Connection, key: str | int) -> bool:
        """Take the lock, and wait as each writer does: no statement of SQLite's only looks."""
        self.lock(connection, key)
        return True
