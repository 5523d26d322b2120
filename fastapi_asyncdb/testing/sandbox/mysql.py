"""What a sandbox needs on MySQL and MariaDB: whether its transaction goes on; interruptions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.engine.interfaces import Dialect

from fastapi_asyncdb.concurrency import await_only
from fastapi_asyncdb.dialects.mysql.errors import number_of
from fastapi_asyncdb.dialects.mysql.transactions import execute
from fastapi_asyncdb.dialects.registry import family_of

_IN_TRANSACTION = 1
"""SERVER_STATUS_IN_TRANS: https://dev.mysql.com/doc/dev/mysql-server/latest/mysql__com_8h.html"""
_IDLE = "idle_transaction_timeout"
_NO_SAVEPOINT = 1305
"""ER_SP_DOES_NOT_EXIST"""

# One sandbox may be inside of another, on the same connection.
_numbers = count(1)


def is_mysql(dialect: Dialect) -> bool:
    """Return whether the database is MySQL, MariaDB or of their kind."""
    return family_of(dialect.name) == "mysql"


def is_in_transaction(driver: Any) -> bool:
    """Return what the server said with the last answer that was no error."""
    return bool(driver.server_status & _IN_TRANSACTION)


def is_gone(error: BaseException) -> bool:
    """Return whether a savepoint was not there, since a COMMIT has ended it."""
    return number_of(error) == _NO_SAVEPOINT


class Interruption:
    """Ends a statement whose caller is cancelled on the server: drivers would close the connection.

    Args:
        driver: The driver's connection.
        grace: Seconds that the statement has to end.
    """

    def __init__(self, driver: Any, grace: float) -> None:
        self._driver = driver
        self._grace = grace
        self._task: asyncio.Task[None] | None = None
        self._is_over = False
        """Whether the statement has ended: an interruption would end the next one."""

    def begin(self) -> float:
        """Begin, unless the statement has ended, and return the grace period."""
        if self._task is None and not self._is_over:
            self._task = asyncio.create_task(self._driver.server_thread.kill(query=True))
        return self._grace

    def around(self, execute: Callable[..., None]) -> Callable[..., None]:
        """Return a function that also waits for the interruption, which must not end what comes next."""

        def run(*arguments: Any) -> None:
            try:
                execute(*arguments)
            except Exception:
                if self._task is None:
                    raise
                raise asyncio.CancelledError from None
            finally:
                self._is_over = True
                if self._task is not None:
                    await_only(asyncio.gather(self._task, return_exceptions=True))

        return run


class FirstSavepoint:
    """The savepoint at the begin of a sandbox, by which its end knows that nothing was committed.

    A procedure may have changed the schema, which commits, and have begun another transaction.
    """

    def __init__(self) -> None:
        self._name = f"asyncdb_sandbox_{next(_numbers)}"
        self._timeout: object = None

    def set(self, connection: Connection) -> None:
        """Begin the transaction: with autocommit off, the first statement would, and each after its end.

        It stays as long as a test that stands still in a debugger.
        """
        raw: Any = connection.connection.dbapi_connection
        if raw.driver_connection.server_thread.mariadb:
            [self._timeout] = execute(raw, f"SELECT @@SESSION.{_IDLE}") or [None]
            execute(raw, f"SET SESSION {_IDLE} = 0")
        if not is_in_transaction(raw.driver_connection):  # or the sandbox is inside of another one
            # Without it the status after the end is 0, which asyncmy takes for no status.
            raw.autocommit(True)  # noqa: FBT003 - the driver's own
            execute(raw, "START TRANSACTION")
        execute(raw, f"SAVEPOINT {self._name}")

    def is_gone(self, connection: Connection) -> bool:
        """Roll back to it; return whether it was gone."""
        raw: Any = connection.connection.dbapi_connection
        try:
            execute(raw, f"ROLLBACK TO SAVEPOINT {self._name}")
        except raw.dbapi.Error as error:
            if is_gone(error):
                return True
            raise
        if self._timeout is not None:
            execute(raw, f"SET SESSION {_IDLE} = {self._timeout}")
        return False
