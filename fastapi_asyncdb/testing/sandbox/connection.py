"""``SharedConnection``: the one connection of a sandbox, for the statements of all its sessions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from sqlalchemy.engine.interfaces import DBAPIConnection, Dialect

from fastapi_asyncdb.concurrency import await_only, current_task, greenlet_spawn, task_name
from fastapi_asyncdb.dialects.registry import family_of
from fastapi_asyncdb.dialects.sqlite.interrupt import close_cursor, interrupt
from fastapi_asyncdb.engine.read_only import only_reads
from fastapi_asyncdb.errors import SandboxError
from fastapi_asyncdb.finishing import finish
from fastapi_asyncdb.pool.waiters import Slots
from fastapi_asyncdb.testing.sandbox.mysql import (
    Interruption,
    is_gone,
    is_in_transaction,
    is_mysql,
)
from fastapi_asyncdb.testing.sandbox.savepoint_stack import Savepoint, Savepoints
from fastapi_asyncdb.testing.sandbox.slots import Slot
from fastapi_asyncdb.testing.sandbox.statements import taints

_FOREVER = 3600.0
_LIMIT = 5.0
"""Seconds to wait for a cancelled statement, before the sandbox is marked as broken."""


class SharedConnection:
    """A connection in a transaction that is rolled back at the end of the sandbox.

    Args:
        connection: The driver's, in its transaction.
        dialect: Of the engine that it comes from.
    """

    def __init__(self, connection: DBAPIConnection, dialect: Dialect) -> None:
        self.connection = connection
        self.dialect = dialect
        self.savepoints: Savepoints = Savepoints(self.run)
        self.slots: Slot = Slot()
        self.tainted: bool = False
        """Whether it has changes that a rollback does not undo; it is then closed at the end."""
        self._slots = Slots(1)
        self._broken: str | None = None
        self._running: asyncio.Task[Any] | None = None
        self._interruption: Interruption | None = None
        self._running_description = ""

    def run(self, statement: str) -> None:
        """Run a statement of the sandbox's own; no listener sees it, and no cancellation stops it."""
        self.ask(statement)

    def ask(self, statement: str) -> Any:
        """Run a statement as ``run`` does, and return the first value of its result, if any."""
        self.refuse_broken()
        try:
            return self._in_task(statement, self._ask, statement, limit=_LIMIT)
        except self.dialect.loaded_dbapi.Error as error:
            if is_mysql(self.dialect) and is_gone(error):
                self.mark_broken("a procedure has committed its transaction")
                self.refuse_broken()
            raise  # the server's answer, or SQLAlchemy recognises the end of the connection
        except Exception as error:
            self.mark_broken(f"its connection was lost ({type(error).__name__})")
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
        """Run a statement of the application. A cancellation of the caller cancels it once.

        AnyIO's scopes cancel again and again, and psycopg closes its connection when it is cancelled
        while it cancels the query.
        """
        self.refuse_broken()
        grace: Callable[[], float] = float  # 0.0
        if is_mysql(self.dialect):
            self._interruption = Interruption(self.driver, _LIMIT)
            execute, grace = self._interruption.around(execute), self._interruption.begin
        try:
            self._in_task(statement, execute, cursor, statement, *rest, grace=grace)
        except asyncio.CancelledError:
            if family_of(self.dialect.name) == "sqlite":
                # Its own cursor alone: another session may have rows left to fetch.
                with suppress(TimeoutError, ValueError):
                    await_only(finish(close_cursor(self.driver, cursor), limit=_LIMIT))
            raise

    def _in_task(
        self, statement: str, run: Callable[..., Any], *arguments: Any, **bounds: Any
    ) -> Any:
        work = asyncio.create_task(greenlet_spawn(run, *arguments))
        self._running, self._running_description = work, _describe(statement)
        try:
            return await_only(finish(work, **bounds))
        except asyncio.CancelledError:
            if family_of(self.dialect.name) == "sqlite" and only_reads(statement):
                self._interrupt()
            if not _is_cancelled():
                self.refuse_broken()  # the end of the sandbox has cancelled it
            raise
        finally:
            self._running = self._interruption = None

    def _interrupt(self) -> None:
        """Interrupt SQLite's query. An interrupted write would roll back the whole transaction.

        https://sqlite.org/c3ref/interrupt.html
        """
        with suppress(TimeoutError, ValueError):  # ValueError: the connection is closed
            await_only(finish(interrupt(self.driver), limit=_LIMIT))

    async def end(self) -> str | None:
        """Refuse further use, and cancel the statement that runs; return a description of it."""
        self.mark_broken("it has ended")
        if self._running is None:
            return None
        running, description = self._running, self._running_description
        if self._interruption is not None:
            await asyncio.wait([running], timeout=self._interruption.begin())
        running.cancel()
        await asyncio.wait([running], timeout=_LIMIT)
        return description

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let one task at a time use the driver: a session and a reader may be used side by side."""
        if self.broken:  # every further statement is refused anyway
            yield
            return
        if not self._slots.take_at_once():
            await_only(self._slots.take(_FOREVER))
        try:
            yield
        finally:
            self._slots.release()

    @property
    def driver(self) -> Any:
        """The driver's own connection, or ``None``."""
        return getattr(self.connection, "driver_connection", None)

    @property
    def broken(self) -> bool:
        """Whether it must not be used any more."""
        return self._broken is not None

    def mark_broken(self, reason: str) -> None:
        """Refuse further use, since it would be committed for good.

        Args:
            reason: For the message; the first reason counts.
        """
        self._broken = self._broken or reason

    def look(self) -> None:
        """Let MySQL say whether its transaction goes on, which the answer to an error does not."""
        if is_mysql(self.dialect) and not self.broken:
            with suppress(self.dialect.loaded_dbapi.Error):  # that of the statement matters more
                self.run("DO 0")

    def mark_broken_if_ended(self, reason: str) -> bool:
        """Refuse further use if its transaction is over; return whether it is."""
        ended = not self.broken and not _is_in_transaction(self.driver)
        if ended:
            self.mark_broken(reason)
        return ended

    def refuse_broken(self) -> None:
        """Refuse to run a statement outside of the transaction.

        Raises:
            SandboxError: the transaction is over, or the connection is broken.
        """
        self.mark_broken_if_ended("its transaction was ended on the driver's own connection")
        if self._broken is not None:
            raise SandboxError(
                f"This sandbox cannot be used any more: {self._broken}. Await background work before "
                "the test ends; test lost connections and cancelled queries with isolated_database."
            )

    def revive(self, savepoint: Savepoint) -> None:
        """Let other sessions go on after an error that has ended the transaction of one."""
        try:
            self.savepoints.revive(savepoint)
        except Exception as error:
            self.mark_broken(f"its connection was lost ({type(error).__name__})")

    def note(self, statement: str) -> None:
        """Note what a rollback does not undo: the connection is closed at the end then."""
        self.tainted |= taints(statement, self.dialect)

    def undo(self, savepoint: Savepoint) -> None:
        """Roll back to the savepoint of a cancelled statement, although its caller is cancelled."""
        try:
            await_only(finish(greenlet_spawn(self.savepoints.rollback, savepoint), limit=_LIMIT))
        except SandboxError:
            self.mark_broken(
                "a statement was cut off, and undoing it has undone what another session wrote"
            )
        except Exception as error:
            self.mark_broken(f"its connection was lost ({type(error).__name__})")


def _describe(statement: str) -> str:
    return f"{' '.join(statement.split()[:5])} ... in {task_name(current_task())}"


def _is_cancelled() -> bool:
    task = current_task()
    return task is not None and task.cancelling() > 0


def _is_in_transaction(driver: Any) -> bool:
    """Ask the driver. A closed connection counts as in its transaction: it raises errors of its own."""
    if hasattr(driver, "is_in_transaction"):  # asyncpg
        return bool(driver.is_closed() or driver.is_in_transaction())
    if hasattr(driver, "server_status"):  # asyncmy, aiomysql
        return is_in_transaction(driver)
    if hasattr(driver, "info"):  # psycopg: 0 is idle
        return bool(driver.info.transaction_status)
    return bool(getattr(driver, "in_transaction", True))
