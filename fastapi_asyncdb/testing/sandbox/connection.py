"""The one connection of a sandbox: what runs on it, and whether it is still to be had."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from sqlalchemy.engine.interfaces import DBAPIConnection, Dialect

from fastapi_asyncdb.concurrency import await_only, current_task, greenlet_spawn, task_name
from fastapi_asyncdb.dialects.sqlite.preset import interrupt
from fastapi_asyncdb.engine.read_only import only_reads, statements_in
from fastapi_asyncdb.errors import SandboxError
from fastapi_asyncdb.finishing import finish
from fastapi_asyncdb.pool.waiters import Gate
from fastapi_asyncdb.testing.sandbox.savepoints import Savepoint, Savepoints
from fastapi_asyncdb.testing.sandbox.turns import Turn

# What would end the sandbox's own transaction. Savepoints of the user's own are welcome.
# SQLite skips a byte order mark.
_ENDS = re.compile(
    r"[\s\ufeff]*(?:begin|start\s+transaction|commit|end|abort|prepare\s+transaction"
    r"|rollback(?!\s+(?:(?:transaction|work)\s+)?to\b))\b",
    re.IGNORECASE,
)
_DDL = re.compile(r"\s*(?:create|alter|drop|do|call)\b", re.IGNORECASE)
_LOCKS = re.compile(r"\bpg_(?:try_)?advisory_lock", re.IGNORECASE)
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
        self.worn = False
        """Whether it keeps what a rollback does not undo."""
        self._gate = Gate(1)
        self._lost: str | None = None
        self._running: asyncio.Task[Any] | None = None
        self._whose = ""

    def run(self, statement: str) -> None:
        """Run a statement of the sandbox's own, which no listener sees and no cancellation cuts off."""
        self.ask(statement)

    def ask(self, statement: str) -> Any:
        """Run such a statement, and return the first value that it answers, if any."""
        self.refuse_lost()
        try:
            return self._in_task(statement, self._ask, statement, limit=_LIMIT)
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

    def execute(
        self, execute: Callable[..., None], cursor: Any, statement: str, *rest: Any
    ) -> None:
        """Run a statement of the application's. A cancellation cuts it off, once.

        psycopg gives its connection up when it is cancelled again while it cancels the query, as
        AnyIO's scopes do.
        """
        self.refuse_lost()
        self._in_task(statement, execute, cursor, statement, *rest, grace=lambda: 0.0)

    def _in_task(
        self, statement: str, run: Callable[..., Any], *arguments: Any, **bounds: Any
    ) -> Any:
        work = asyncio.create_task(greenlet_spawn(run, *arguments))
        self._running, self._whose = work, _whose(statement)
        try:
            return await_only(finish(work, **bounds))
        except asyncio.CancelledError:
            if self.dialect.name == "sqlite" and only_reads(statement):
                self._interrupt()
            if not _is_cancelled():
                self.refuse_lost()  # its end has cut it off
            raise
        finally:
            self._running = None

    def _interrupt(self) -> None:
        """Cut SQLite off, which goes on until then. Not a write: it would roll back everything.

        https://sqlite.org/c3ref/interrupt.html
        """
        with suppress(TimeoutError, ValueError):  # or it is closed
            await_only(finish(interrupt(self._driver), limit=_LIMIT))

    async def end(self) -> str | None:
        """Let nobody use it any more, and cut off what runs on it: return what it was."""
        self.lose("it has ended")
        if self._running is None:
            return None
        whose = self._whose
        self._running.cancel()
        await asyncio.wait([self._running], timeout=_LIMIT)
        return whose

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let nobody else in between: a session, and a reader beside it, may be used at once."""
        if self.lost:  # whatever runs still, nothing more will
            yield
            return
        if not self._gate.enter_at_once():
            await_only(self._gate.enter(_FOREVER))
        try:
            yield
        finally:
            self._gate.leave()

    @property
    def _driver(self) -> Any:
        return getattr(self.connection, "driver_connection", None)

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

    def lose_ended(self, reason: str) -> bool:
        """Let nobody use it any more if its transaction is over, and tell so."""
        ended = not self.lost and not _is_in_transaction(self._driver)
        if ended:
            self.lose(reason)
        return ended

    def refuse_lost(self) -> None:
        """Refuse to go on outside of the transaction.

        Raises:
            SandboxError: it is over.
        """
        self.lose_ended("its transaction was ended on the driver's own connection")
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
        # Comments may hold comments in PostgreSQL, and not in SQLite.
        parts = (part for one in statements_in(statement) for part in one.split("*/"))
        if any(map(_ENDS.match, parts)):
            words = " ".join(statement.split()[:2])
            raise SandboxError(
                f"{words} would end the transaction that the sandbox rolls back, and with it the "
                "isolation of the tests. Use the session's commit() and rollback(), or test this "
                "with isolated_database."
            )

    def revive(self, savepoint: Savepoint) -> None:
        """Let others go on after an error that has ended a transaction."""
        try:
            self.savepoints.revive(savepoint)
        except Exception as error:
            self.lose(f"its connection was lost ({type(error).__name__})")

    def note(self, statement: str) -> None:
        """Note what a rollback does not undo: asyncpg's plans for other tables, a session's locks."""
        if self.dialect.driver == "asyncpg":
            self.worn |= any(map(_DDL.match, statements_in(statement)))
        self.worn |= _LOCKS.search(statement) is not None

    def undo(self, savepoint: Savepoint) -> None:
        """Roll back to where a statement was cut off, although the caller is being cancelled."""
        try:
            await_only(finish(greenlet_spawn(self.savepoints.rollback, savepoint), limit=_LIMIT))
        except SandboxError:
            self.lose(
                "a statement was cut off, and undoing it took along what another session wrote"
            )
        except Exception as error:
            self.lose(f"its connection was lost ({type(error).__name__})")


def _whose(statement: str) -> str:
    return f"{' '.join(statement.split()[:5])} ... in {task_name(current_task())}"


def _is_cancelled() -> bool:
    task = current_task()
    return task is not None and task.cancelling() > 0


def _is_in_transaction(driver: Any) -> bool:
    """Tell whether it is, as far as the driver knows; a closed connection has errors of its own."""
    if hasattr(driver, "is_in_transaction"):  # asyncpg
        return bool(driver.is_closed() or driver.is_in_transaction())
    if hasattr(driver, "info"):  # psycopg: 0 is idle
        return bool(driver.info.transaction_status)
    return bool(getattr(driver, "in_transaction", True))
