"""PostgreSQL: the preset for asyncpg and psycopg."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from typing import Any, cast

from sqlalchemy import event, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from fastapi_asyncdb import finishing
from fastapi_asyncdb.dialects.autocommit import with_connection_options
from fastapi_asyncdb.dialects.base import Diagnosis, ErrorStep, LogPositions, TransactionNumbers
from fastapi_asyncdb.dialects.credentials import refuse_two_passwords
from fastapi_asyncdb.dialects.deadlines import STATEMENT_TIMEOUT
from fastapi_asyncdb.dialects.keepalive import shut_down
from fastapi_asyncdb.dialects.postgresql.connect import connect_arguments, raise_driver_errors
from fastapi_asyncdb.dialects.postgresql.connect_errors import diagnose
from fastapi_asyncdb.dialects.postgresql.errors import (
    IDLE_IN_TRANSACTION,
    comes_from_server,
    sqlstate_of,
)
from fastapi_asyncdb.dialects.postgresql.failover import failover, watch_for_failover
from fastapi_asyncdb.dialects.postgresql.lost_connections import loss
from fastapi_asyncdb.dialects.postgresql.plans import explain_outdated_plan, renew_plans
from fastapi_asyncdb.dialects.postgresql.pooler import use_pooler
from fastapi_asyncdb.dialects.postgresql.replication import POSITIONS
from fastapi_asyncdb.dialects.postgresql.server_settings import (
    seconds_of,
    set_in_transaction,
    split_options,
)
from fastapi_asyncdb.dialects.postgresql.transactions import (
    NUMBERS,
    ReadOnlyTransaction,
    forget_read_only,
)
from fastapi_asyncdb.dialects.stream_cursors import stream_in
from fastapi_asyncdb.dialects.target import Target
from fastapi_asyncdb.options import TransactionOptions
from fastapi_asyncdb.settings import DatabaseSettings

logger = logging.getLogger(__name__)

# libpq's PQTRANS_ACTIVE: a command is in progress.
_ACTIVE = 1
# Any constant that no other program uses: "asyncdb" in ASCII.
_SCHEMA_LOCK = int.from_bytes(b"asyncdb")
_READ_ONLY_TRANSACTION = ReadOnlyTransaction()


class PostgreSQL:
    """The preset for asyncpg and psycopg."""

    needs_ping = True
    separate_readers = False
    probe = "SELECT 1"
    verified_tls = "sslmode=verify-full to the URL, and sslrootcert=FILE"
    timeout_words: Collection[str] = ("statement_timeout", "set_config")
    failures_keep_savepoints = True
    transaction_numbers: TransactionNumbers | None = NUMBERS
    log_positions: LogPositions | None = POSITIONS

    def install_hint(self, target: Target) -> str:
        """Return the extra of the driver."""
        extra = "psycopg" if target.url.get_driver_name() == "psycopg" else "postgresql"
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
        """Send the timeouts once per connection, in the startup message. The URL's own values win.

        A pooler takes none; they go with each BEGIN then.
        """
        return {"connect_args": connect_arguments(target, settings)}

    def configure(
        self, engine: AsyncEngine, target: Target, settings: DatabaseSettings, *, read_only: bool
    ) -> None:
        """Remove differences between the drivers, and between the server and a pooler in front of it."""
        dialect = engine.sync_engine.dialect
        stream_in(dialect, _READ_ONLY_TRANSACTION)
        if target.url.get_driver_name() == "psycopg":
            event.listen(engine.sync_engine, "checkin", forget_read_only)
        use_pooler(dialect, target, setting=settings.pgbouncer)
        raise_driver_errors(dialect)
        renew_plans(dialect)
        watch_for_failover(engine, target)

    def error_steps(self) -> tuple[ErrorStep, ...]:
        """Explain outdated plans, and replace connections to a server that became read-only."""
        return explain_outdated_plan, failover().leave

    def check(self, options: TransactionOptions) -> None:
        """Accept all options."""

    def bind(
        self, options: TransactionOptions, write: AsyncEngine, read: AsyncEngine
    ) -> AsyncEngine:
        """Say in BEGIN what BEGIN can say, and set the timeouts with the first statement after it.

        Both end with the transaction, behind a pooler as well.
        https://www.postgresql.org/docs/current/sql-begin.html
        """
        said: dict[str, Any] = {"isolation_level": options.isolation_level}
        if options.statement_timeout is not None:
            said[STATEMENT_TIMEOUT] = options.statement_timeout
        if options.read_only:
            said |= {"postgresql_readonly": True, "postgresql_deferrable": options.deferrable}
        engine = with_connection_options(
            write, **{name: value for name, value in said.items() if value is not None}
        )
        if options.timeouts:
            event.listen(engine.sync_engine, "begin", set_in_transaction(options.timeouts))
        return engine

    async def discard(self, connection: DBAPIConnection) -> bool:
        """Close it; asyncpg waits for the query that it has cancelled, within its time."""
        driver: Any = getattr(connection, "driver_connection", None)
        terminate: Any = getattr(connection, "terminate", None)
        try:
            async with asyncio.timeout(finishing.GRACE.handshake):
                await driver.close()
        except Exception:
            logger.info("A connection was closed without a closing handshake.", exc_info=True)
            return False
        else:
            return True
        finally:
            # Without waiting, since no greenlet is here: it forgets the transaction too.
            if terminate is not None:
                terminate()

    def statement_timeout(self, target: Target, settings: DatabaseSettings) -> float:
        """Return the URL's, or else that of the settings."""
        given = target.connect_args.get("server_settings")
        if given is None:
            given, _ = split_options(target.connect_args.get("options", ""))
        if "statement_timeout" in given:
            return seconds_of(given["statement_timeout"])
        return settings.statement_timeout or 0.0

    def cut(self, connection: DBAPIConnection) -> None:
        """Close its socket, which wakes up the task that waits there."""
        driver: Any = connection.driver_connection
        driver.note_silence()
        if hasattr(driver, "terminate"):
            driver.terminate()
        elif not driver.closed:
            # Not closed, since the event loop would not hear of it.
            shut_down(driver.pgconn.socket)

    def ends_in_place(self, target: Target) -> bool:
        """Return true for asyncpg, whose timeouts are timers; psycopg waits for sockets in tasks."""
        return target.url.get_driver_name() == "asyncpg"

    def awaits_answer(self, connection: DBAPIConnection) -> bool:
        """Look at the lock of SQLAlchemy's adapter for asyncpg, or ask libpq."""
        driver: Any = connection.driver_connection
        if hasattr(driver, "pgconn"):
            return bool(driver.pgconn.transaction_status == _ACTIVE)
        return bool(cast(Any, connection)._execute_mutex.locked())

    def is_closed(self, connection: DBAPIConnection) -> bool:
        """Ask asyncpg, which notices a lost connection while it is idle; psycopg does not."""
        is_closed = getattr(connection.driver_connection, "is_closed", None)
        return is_closed is not None and bool(is_closed())

    def ended_before_commit(self, error: BaseException) -> bool:
        """Return whether the server had ended the connection because it waited for a command."""
        return sqlstate_of(error) == IDLE_IN_TRANSACTION

    def loss(self, connection: DBAPIConnection, error: BaseException) -> str | None:
        """Look at the server's last message, and at the errors of TCP."""
        driver = getattr(connection, "driver_connection", None)
        return loss(error, getattr(driver, "last_message", {}))

    async def lock_schema(self, connection: AsyncConnection) -> None:
        """Take an advisory lock, because CREATE TABLE IF NOT EXISTS fails in a race."""
        await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _SCHEMA_LOCK})

    def drops_transaction(self, connection: DBAPIConnection, error: BaseException) -> bool:
        """Return whether the server has sent the error: each one of them ends the transaction."""
        return comes_from_server(error)

    def diagnose(self, error: BaseException, target: Target) -> Diagnosis:
        """Classify by the surest sign: SQLSTATE, else the words, else the kind of exception."""
        return diagnose(error)
