"""The one connection of a sandbox: what runs on it, and whether it is still to be had."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy.engine.interfaces import DBAPIConnection, Dialect
from sqlalchemy.util import await_only, greenlet_spawn
from sqlalchemy.util.concurrency import in_greenlet

from fastapi_asyncdb.errors import SandboxError
from fastapi_asyncdb.gate import Gate
from fastapi_asyncdb.read_only import statements_in
from fastapi_asyncdb.shield import finish
from fastapi_asyncdb.testing.savepoints import Savepoint, Savepoints
from fastapi_asyncdb.testing.turns import Turn

# What would end the sandbox's own transaction. Savepoints of the user's own are welcome.
_ENDS = re.compile(
    r"\s*(?:begin|start\s+transaction|commit|end|abort|prepare\s+transaction"
    r"|rollback(?!\s+(?:(?:transaction|work)\s+)?to\b))\b",
    re.IGNORECASE,
)
_FOREVER = 3600.0
_LIMIT = 5.0
"""Seconds to wait for a statement that was cut off, before the sandbox is given up."""


class OneConnection:
    """A connection in a transaction that is to be rolled back in the end, whatever happens.

    Args:
        connection: In its transaction.
        dialect: Of the engine that it comes from.
    """

    def __init__(self, connection: DBAPIConnection, dialect: Dialect) -> None:
        self.connection = connection
        self.dialect = dialect
        self.savepoints = Savepoints(self.run)
        self.turns = Turn()
        self.changed_tables = False
        self._gate = Gate(1)
        self._lost: str | None = None

    def run(self, statement: str) -> None:
        """Run a statement of the sandbox's own, which no listener sees and no cancellation cuts off."""
        self.ask(statement)

    def ask(self, statement: str) -> Any:
        """Run such a statement, and return the first value that it answers, if any."""
        self.refuse_lost()
        try:
            return await_only(finish(greenlet_spawn(self._ask, statement), limit=_LIMIT))
        except self.dialect.loaded_dbapi.Error:
            raise  # an answer, or SQLAlchemy knows it for the end of the connection
        except Exception as error:
            self.lose(f"its connection was lost ({type(error).__name__})")
            raise

    def _ask(self, statement: str) -> Any:
        cursor = self.connection.cursor()
        try:
            cursor.execute(statement)
            row = cursor.fetchone() if cursor.description else None
        finally:
            cursor.close()
        return row[0] if row else None

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let nobody else in between: a session, and a reader beside it, may be used at once."""
        if not self._gate.enter_at_once():
            await_only(self._gate.enter(_FOREVER))
        try:
            yield
        finally:
            self._gate.leave()

    @property
    def lost(self) -> bool:
        """Whether nothing can be done on it any more."""
        return self._lost is not None

    def lose(self, reason: str) -> None:
        """Let nobody use it any more: what ran on it now would be committed for good.

        Args:
            reason: The first one is told.
        """
        self._lost = self._lost or reason

    def refuse_lost(self) -> None:
        """Refuse to go on outside of the transaction.

        Raises:
            SandboxError: it is over.
        """
        driver: Any = getattr(self.connection, "driver_connection", None)
        # SQLite ends a transaction by itself when the disk is full, for example.
        if self._lost is None and not _is_in_transaction(driver):
            self.lose("the database has rolled back the whole of it")
        if self._lost is not None:
            raise SandboxError(
                f"This sandbox cannot be used any more: {self._lost}. Await background work before "
                "the test ends; test lost connections and cancelled queries with isolated_database."
            )

    def refuse_end(self, statement: str) -> None:
        """Refuse SQL that would end the transaction.

        Raises:
            SandboxError: it would.
        """
        if any(_ENDS.match(part) for part in statements_in(statement)):
            words = " ".join(statement.split()[:2])
            raise SandboxError(
                f"{words} would end the transaction that the sandbox rolls back, and with it the "
                "isolation of the tests. Use the session's commit() and rollback(), or test this "
                "with isolated_database."
            )

    def undo(self, savepoint: Savepoint) -> None:
        """Roll back to where a statement was cut off, although the caller is being cancelled."""
        if not in_greenlet():
            self.lose("a session was left to the garbage collector in its transaction")
            return
        try:
            await_only(finish(greenlet_spawn(self.savepoints.rollback, savepoint), limit=_LIMIT))
        except SandboxError:
            self.lose(
                "a statement was cut off, and undoing it took along what another session wrote"
            )
        except Exception as error:
            self.lose(f"its connection was lost ({type(error).__name__})")


def _is_in_transaction(driver: Any) -> bool:
    """Tell whether it is, as far as the driver knows; a closed connection has errors of its own."""
    if hasattr(driver, "is_in_transaction"):  # asyncpg
        return bool(driver.is_closed() or driver.is_in_transaction())
    if hasattr(driver, "info"):  # psycopg: 0 is idle
        return bool(driver.info.transaction_status)
    return bool(getattr(driver, "in_transaction", True))
