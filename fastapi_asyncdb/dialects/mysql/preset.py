"""MySQL and MariaDB: the preset for asyncmy and aiomysql."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Sequence
from typing import Any, cast

from sqlalchemy import event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from fastapi_asyncdb import finishing
from fastapi_asyncdb.dialects.autocommit import with_connection_options
from fastapi_asyncdb.dialects.base import Diagnosis, ErrorStep, LogPositions, TransactionNumbers
from fastapi_asyncdb.dialects.calls import steps_of
from fastapi_asyncdb.dialects.credentials import refuse_two_passwords
from fastapi_asyncdb.dialects.deadlines import STATEMENT_TIMEOUT
from fastapi_asyncdb.dialects.mysql.advisory_locks import AdvisoryLocks
from fastapi_asyncdb.dialects.mysql.connect import connect_arguments
from fastapi_asyncdb.dialects.mysql.connect_errors import diagnose
from fastapi_asyncdb.dialects.mysql.errors import ENDED, ends_transaction, number_of
from fastapi_asyncdb.dialects.mysql.failover import failover, watch_for_failover
from fastapi_asyncdb.dialects.mysql.implicit_commits import refuse_in_transaction
from fastapi_asyncdb.dialects.mysql.lost_connections import loss
from fastapi_asyncdb.dialects.mysql.transactions import (
    ConsistentRead,
    begin_with,
    is_idle,
    note_end,
    switch_autocommit_when_needed,
    thread_of,
)
from fastapi_asyncdb.dialects.stream_cursors import stream_in
from fastapi_asyncdb.dialects.target import Target
from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.options import TransactionOptions
from fastapi_asyncdb.settings import DatabaseSettings

logger = logging.getLogger(__name__)

_CONSISTENT_READ = ConsistentRead()
_LOCKS = AdvisoryLocks()
_SCHEMA = "fastapi_asyncdb schema"
"""The key of the lock of the process that creates tables."""
_CANCELLED = "Cancelled during execution"
"""The drivers' words for a connection that they have closed because its task was cancelled."""


class MySQL:
    """The preset for asyncmy and aiomysql."""

    needs_ping = True
    separate_readers = False
    probe = "SELECT 1"
    verified_tls = "ssl-mode=VERIFY_IDENTITY to the URL, and ssl-ca=FILE"
    timeout_words: Collection[str] = ("max_statement_time", "max_execution_time")
    failures_keep_savepoints = False
    transaction_numbers: TransactionNumbers | None = None
    log_positions: LogPositions | None = None

    def install_hint(self, target: Target) -> str:
        """Return the extra that installs the driver."""
        extra = "aiomysql" if target.url.get_driver_name() == "aiomysql" else "mysql"
        return f"'fastapi-asyncdb[{extra}]'"

    def resolve(self, target: Target) -> Target:
        """Return the target as it is.

        Raises:
            ConfigurationError: the URL has a password, and there is a function that returns one.
        """
        refuse_two_passwords(target)
        return target

    def engine_options(
        self, target: Target, settings: DatabaseSettings, *, read_only: bool
    ) -> dict[str, Any]:
        """Prepare the session of each connection when it is made."""
        return {"connect_args": connect_arguments(target, settings)}

    def configure(
        self, engine: AsyncEngine, target: Target, settings: DatabaseSettings, *, read_only: bool
    ) -> None:
        """Switch autocommit only when it differs; send no COMMIT where there is nothing to end."""
        dialect = engine.sync_engine.dialect
        stream_in(dialect, _CONSISTENT_READ)
        steps = steps_of(dialect)
        steps.is_idle, steps.note_end, steps.before = is_idle, note_end, refuse_in_transaction
        switch_autocommit_when_needed(dialect)
        watch_for_failover(engine)

    def error_steps(self) -> Sequence[ErrorStep]:
        """Replace connections to a server that became read-only."""
        return (failover().leave,)

    def check(self, options: TransactionOptions) -> None:
        """Refuse ``deferrable``."""
        if options.deferrable:
            raise ConfigurationError(
                "MySQL has no deferrable transactions: they are PostgreSQL's. Leave deferrable out."
            )

    def bind(
        self, options: TransactionOptions, write: AsyncEngine, read: AsyncEngine
    ) -> AsyncEngine:
        """Say with SET TRANSACTION what a transaction is like, and set its timeouts."""
        said: dict[str, Any] = {}
        if options.statement_timeout is not None:
            said[STATEMENT_TIMEOUT] = options.statement_timeout
        engine = with_connection_options(write, **said)
        event.listen(engine.sync_engine, "begin", begin_with(options))
        return engine

    async def discard(self, connection: DBAPIConnection) -> bool:
        """Close it; end its thread from another connection if a statement may still run there."""
        driver = cast(Any, connection).driver_connection
        try:
            async with asyncio.timeout(finishing.GRACE.handshake):
                if driver.server_thread.running or driver._close_reason == _CANCELLED:
                    await driver.server_thread.kill()
                else:
                    await driver.ensure_closed()
        except Exception:
            logger.info("A connection was closed without a closing handshake.", exc_info=True)
            return False
        else:
            return True
        finally:
            driver.close()

    def statement_timeout(self, target: Target, settings: DatabaseSettings) -> float:
        """Return that of the settings."""
        return settings.statement_timeout or 0.0

    def cut(self, connection: DBAPIConnection) -> None:
        """Close its socket, which wakes up the task that waits there; the server hears of it later."""
        thread_of(connection).running = True
        transport = cast(Any, connection).driver_connection.transport
        if transport is not None:
            transport.abort()

    def ends_in_place(self, target: Target) -> bool:
        """Return true: both drivers wait without a timeout of their own."""
        return True

    def awaits_answer(self, connection: DBAPIConnection) -> bool:
        """Look at the lock of SQLAlchemy's adapter."""
        return bool(cast(Any, connection)._execute_mutex.locked())

    def is_closed(self, connection: DBAPIConnection) -> bool:
        """Ask the driver, which has closed it if its task was cancelled, or its socket was cut."""
        return bool(cast(Any, connection).driver_connection.has_ended)

    def ended_before_commit(self, error: BaseException) -> bool:
        """Return whether the server had killed the connection."""
        return number_of(error) in ENDED

    def loss(self, connection: DBAPIConnection, error: BaseException) -> str | None:
        """Look at the number of the error, and at the errors of TCP."""
        return loss(error)

    async def lock_schema(self, connection: AsyncConnection) -> None:
        """Take a lock of this database, since CREATE TABLE commits; its connection gives it back."""
        await connection.run_sync(_LOCKS.lock, _SCHEMA)

    def drops_transaction(self, connection: DBAPIConnection, error: BaseException) -> bool:
        """Return whether it was a deadlock, or a lock timeout where that ends the transaction."""
        return ends_transaction(error, on_timeout=thread_of(connection).rolls_back_on_timeout)

    def diagnose(self, error: BaseException, target: Target) -> Diagnosis:
        """Classify by the server's number, else the kind of exception, else the words."""
        return diagnose(error)
