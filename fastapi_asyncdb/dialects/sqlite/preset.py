"""SQLite: the preset for aiosqlite. Writers lock when they begin; readers do not wait for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4

from sqlalchemy import event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.pool import ConnectionPoolEntry

from fastapi_asyncdb.dialects.base import Diagnosis, ErrorStep
from fastapi_asyncdb.dialects.calls import steps_of
from fastapi_asyncdb.dialects.reading_streams import NOTHING
from fastapi_asyncdb.dialects.sqlite.connection import connect, keep_in_memory
from fastapi_asyncdb.dialects.sqlite.errors import diagnose
from fastapi_asyncdb.dialects.sqlite.interrupt import interrupt, roll_back
from fastapi_asyncdb.dialects.sqlite.transactions import (
    begin_deferred,
    begin_immediate,
    is_idle,
    roll_back_failed_commits,
)
from fastapi_asyncdb.dialects.stream_cursors import stream_in
from fastapi_asyncdb.dialects.target import Target
from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.options import TransactionOptions
from fastapi_asyncdb.settings import DatabaseSettings

# Python's own default: https://docs.python.org/3/library/sqlite3.html#sqlite3.connect
_BUSY_TIMEOUT = 5.0

# WAL lets readers go on beside the writer; NORMAL is its recommended partner, which survives a crash
# of the process, and of the machine except for the last commits: https://sqlite.org/wal.html
_WAL = "journal_mode=WAL"
_FILE_PRAGMAS: tuple[str, ...] = (_WAL, "synchronous=NORMAL", "foreign_keys=ON")
_MEMORY_PRAGMAS: tuple[str, ...] = ("foreign_keys=ON",)
_READER_PRAGMAS = ("query_only=ON",)
# In a shared cache a reader would wait for the writer's table locks, without the busy timeout:
# https://sqlite.org/sharedcache.html#read_uncommitted_isolation_mode
_MEMORY_READER_PRAGMAS = ("query_only=ON", "read_uncommitted=ON")


class SQLite:
    """The preset for aiosqlite."""

    needs_ping = False
    separate_readers = True
    # "SELECT 1" would not look into the file.
    probe = "SELECT count(*) FROM sqlite_master"
    verified_tls = ""
    timeout_words = ()
    failures_keep_savepoints = False
    transaction_numbers = None
    log_positions = None

    def install_hint(self, target: Target) -> str:
        """Return the package; it is one of the library's own dependencies."""
        return "aiosqlite"

    def resolve(self, target: Target) -> Target:
        """Give an in-memory database a name, under which several connections find it."""
        if target.credentials is not None:
            raise ConfigurationError(
                "SQLite has no passwords: leave the function out of Database(password=...)."
            )
        if target.url.database != ":memory:":
            return target
        query = {"mode": "memory", "cache": "shared", "uri": "true"}
        name = f"file:fastapi_asyncdb_{uuid4().hex}"
        return replace(target, url=target.url.set(database=name, query=query))

    def engine_options(
        self, target: Target, settings: DatabaseSettings, *, read_only: bool
    ) -> dict[str, Any]:
        """Let SQLite wait for locks itself, and let the library send BEGIN instead of the driver."""
        busy = _BUSY_TIMEOUT if settings.lock_timeout is None else settings.lock_timeout
        options: dict[str, Any] = {
            "connect_args": {
                "timeout": busy,
                "isolation_level": None,
                "async_creator_fn": connect,
                **target.connect_args,
            }
        }
        if not read_only:
            # SQLite has one writer at a time. Writers that queue for one connection are served sooner,
            # and in the order in which they came, unlike writers that poll for the lock.
            options |= {"pool_size": 1, "max_overflow": 0, "advice": _WRITERS_ADVICE}
            if settings.lock_timeout is not None:
                options["pool_timeout"] = settings.lock_timeout
        if _in_memory(target):
            options["pool_recycle"] = -1
        return options

    def configure(
        self, engine: AsyncEngine, target: Target, settings: DatabaseSettings, *, read_only: bool
    ) -> None:
        """Set the pragmas of each new connection, and begin writers with ``BEGIN IMMEDIATE``."""
        memory = _in_memory(target)
        pragmas = _MEMORY_PRAGMAS if memory else _FILE_PRAGMAS
        if _is_protected(target):
            pragmas = tuple(pragma for pragma in pragmas if pragma != _WAL)
        if read_only:
            pragmas += _MEMORY_READER_PRAGMAS if memory else _READER_PRAGMAS

        @event.listens_for(engine.sync_engine, "connect")
        def set_pragmas(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
            cursor = connection.cursor()
            for pragma in pragmas:
                cursor.execute(f"PRAGMA {pragma}")
            cursor.close()

        if read_only:
            # An open query of SQLite's sees one state by itself.
            stream_in(engine.sync_engine.dialect, NOTHING)
            # Each end of a reader's transaction that is none would be a call of the thread.
            steps_of(engine.sync_engine.dialect).is_idle = is_idle
        else:
            event.listen(engine.sync_engine, "begin", begin_immediate)
            roll_back_failed_commits(engine.sync_engine.dialect)
            if memory:
                keep_in_memory(engine, target)

    def error_steps(self) -> Sequence[ErrorStep]:
        """Return none."""
        return ()

    def check(self, options: TransactionOptions) -> None:
        """Refuse timeouts, ``deferrable``, and isolation levels that SQLite does not have.

        Its transactions are serializable, and a reader's is a snapshot: https://sqlite.org/isolation.html
        """
        own = ("REPEATABLE READ", "SERIALIZABLE") if options.read_only else ("SERIALIZABLE",)
        if options.isolation_level not in (None, *own):
            raise ConfigurationError(
                f"SQLite has no {options.isolation_level}: its transactions are always serializable. "
                'Leave isolation_level out, or use "SERIALIZABLE".'
            )
        for name in options.timeouts:
            raise ConfigurationError(f"SQLite has no {name} for one transaction. {_INSTEAD[name]}")
        if options.deferrable:
            raise ConfigurationError(
                "SQLite has no deferrable transactions, and needs none: its readers cannot fail to "
                "serialize. Leave deferrable out."
            )

    def bind(
        self, options: TransactionOptions, write: AsyncEngine, read: AsyncEngine
    ) -> AsyncEngine:
        """Begin readers with a transaction, which sees one state from its first statement on."""
        if not options.read_only:
            return write
        engine = read.execution_options()
        event.listen(engine.sync_engine, "begin", begin_deferred)
        return engine

    async def discard(self, connection: DBAPIConnection) -> bool:
        """Interrupt the query, roll back and close, on the connection's own thread."""
        driver: Any = getattr(connection, "driver_connection", None)
        try:
            await interrupt(driver)
            await roll_back(driver)
        except ValueError:
            # aiosqlite's error for a connection that was closed already.
            pass
        finally:
            await driver.close()
        return True

    def statement_timeout(self, target: Target, settings: DatabaseSettings) -> float:
        """Return 0: SQLite has none."""
        return 0.0

    def cut(self, connection: DBAPIConnection) -> None:
        """Do nothing: there is no server to wait for."""

    def ends_in_place(self, target: Target) -> bool:
        """Return true: a thread does the work, and has its own timeout."""
        return True

    def awaits_answer(self, connection: DBAPIConnection) -> bool:
        """Look at the lock of SQLAlchemy's adapter, which has one since 2.1."""
        mutex = getattr(connection, "_execute_mutex", None)
        return mutex is not None and bool(mutex.locked())

    def is_closed(self, connection: DBAPIConnection) -> bool:
        """Return ``False``: there is no network."""
        return False

    def ended_before_commit(self, error: BaseException) -> bool:
        """Return ``False``: there is no server."""
        return False

    def loss(self, connection: DBAPIConnection, error: BaseException) -> str | None:
        """Return ``None``: there is no network."""

    async def lock_schema(self, connection: AsyncConnection) -> None:
        """Do nothing: ``BEGIN IMMEDIATE`` has locked the database already."""

    def drops_transaction(self, connection: DBAPIConnection, error: BaseException) -> bool:
        """Ask the connection: few errors do, a full disk and ``ON CONFLICT ROLLBACK`` among them.

        https://sqlite.org/lang_transaction.html#response_to_errors_within_a_transaction
        """
        return not connection.driver_connection.in_transaction

    def diagnose(self, error: BaseException, target: Target) -> Diagnosis:
        """Return the cause and the next step: a missing folder, a locked file."""
        return diagnose(error)


_WRITERS_ADVICE = (
    "On SQLite all writers share one connection. Most likely one of them keeps it during slow work, or "
    "a task opens a second session inside its first. The warnings of fastapi_asyncdb.pool name the "
    "request that keeps it for long: call 'await db.commit()' before the slow work, and read with "
    "ReadDB, which waits for no writer."
)

_INSTEAD = {
    "statement_timeout": "Leave it out, or put 'async with asyncio.timeout(seconds)' around the work.",
    "lock_timeout": (
        "All writers share one connection, so that only DATABASE_LOCK_TIMEOUT, for all of them, "
        "limits the wait: set that instead."
    ),
}


def _in_memory(target: Target) -> bool:
    return target.url.query.get("mode") == "memory" or target.url.database == "file::memory:"


def _is_protected(target: Target) -> bool:
    """Return whether SQLite may not write to the file, where a change of its journal is an error."""
    return target.url.query.get("mode") == "ro" or target.url.query.get("immutable") == "1"
