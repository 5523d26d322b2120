"""SQLite: WAL, foreign keys, writers that take the lock when they begin, readers beside them."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
from contextlib import suppress
from dataclasses import replace
from threading import Event
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from fastapi_asyncdb.dialects.base import Diagnosis
from fastapi_asyncdb.dialects.calls import commits_itself
from fastapi_asyncdb.dialects.reading_streams import NOTHING, stream_in
from fastapi_asyncdb.dialects.sqlite.connection import connect
from fastapi_asyncdb.dialects.target import Target
from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.options import TransactionOptions
from fastapi_asyncdb.settings import DatabaseSettings
from fastapi_asyncdb.tracebacks import causes

# Python's own default: https://docs.python.org/3/library/sqlite3.html#sqlite3.connect
_BUSY_TIMEOUT = 5.0
# Seconds between two attempts to interrupt a query, which may not have begun at the first.
_TURN = 0.005

# WAL lets readers go on beside the writer; NORMAL is its recommended partner, which survives a crash
# of the process, and of the machine except for the last commits: https://sqlite.org/wal.html
_FILE_PRAGMAS: tuple[str, ...] = ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON")
_MEMORY_PRAGMAS: tuple[str, ...] = ("foreign_keys=ON",)
_READER_PRAGMAS = ("query_only=ON",)
# In a shared cache a reader would wait for the writer's table locks, without the busy timeout:
# https://sqlite.org/sharedcache.html#read_uncommitted_isolation_mode
_MEMORY_READER_PRAGMAS = ("query_only=ON", "read_uncommitted=ON")


class SQLite:
    """The preset for aiosqlite."""

    needs_ping = False
    separate_readers = True

    def install_hint(self, target: Target) -> str:
        """Return the package; it is one of the library's own dependencies."""
        return "aiosqlite"

    def resolve(self, target: Target) -> Target:
        """Give an in-memory database a name, under which several connections find it."""
        if target.url.database != ":memory:":
            return target
        query = {"mode": "memory", "cache": "shared", "uri": "true"}
        name = f"file:fastapi_asyncdb_{uuid4().hex}"
        return replace(target, url=target.url.set(database=name, query=query))

    def engine_options(
        self, target: Target, settings: DatabaseSettings, *, read_only: bool
    ) -> dict[str, Any]:
        """Let SQLite wait for locks itself, and leave BEGIN to us instead of the driver."""
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
            # One writer at a time is SQLite's rule. Writers that take turns on one connection are
            # served sooner, and more fairly, than writers that poll for the lock.
            options |= {"pool_size": 1, "max_overflow": 0, "advice": _WRITERS_ADVICE}
            if settings.lock_timeout is not None:
                options["pool_timeout"] = settings.lock_timeout
        if _in_memory(target):
            options["pool_recycle"] = -1
        return options

    def configure(self, engine: AsyncEngine, target: Target, *, read_only: bool) -> None:
        """Set the pragmas of each new connection, and begin writers with ``BEGIN IMMEDIATE``."""
        memory = _in_memory(target)
        pragmas = _MEMORY_PRAGMAS if memory else _FILE_PRAGMAS
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
        else:
            event.listen(engine.sync_engine, "begin", _begin_immediate)
            _roll_back_failed_commits(engine)
            if memory:
                _keep_alive(engine, target)

    def check(self, options: TransactionOptions) -> None:
        """Refuse timeouts, deferrable, and isolation that SQLite has not.

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
        event.listen(engine.sync_engine, "begin", _begin_deferred)
        return engine

    async def discard(self, connection: DBAPIConnection) -> bool:
        """Interrupt the query, roll back and close, on the connection's own thread.

        A connection that is closed in the middle of a query keeps its write lock until the garbage
        collector finds it.
        """
        driver: Any = getattr(connection, "driver_connection", None)
        try:
            await interrupt(driver)
            await _rollback(driver)
        except ValueError:
            # That is how aiosqlite says that the connection was closed already.
            pass
        finally:
            await driver.close()
        return True

    def statement_timeout(self, target: Target, settings: DatabaseSettings) -> float:
        """Return 0: SQLite has none."""
        return 0.0

    def cut(self, connection: DBAPIConnection) -> None:
        """Do nothing: nobody is waited for but this process."""

    def ends_in_place(self, target: Target) -> bool:
        """Return true: a thread does the work, and has its own timeout."""
        return True

    def awaits_answer(self, connection: DBAPIConnection) -> bool:
        """Ask SQLAlchemy's adapter, which has a lock for it since 2.1."""
        mutex = getattr(connection, "_execute_mutex", None)
        return mutex is not None and bool(mutex.locked())

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
        """Tell a missing folder from a locked file."""
        text = " ".join(str(cause) for cause in causes(error)).lower()
        for words, diagnosis in _DIAGNOSES.items():
            if words in text:
                return diagnosis
        return Diagnosis("Check the path in DATABASE_URL", permanent=True)


_WRITERS_ADVICE = (
    "On SQLite writers take turns on one connection. Most likely one holds it during slow work, or a "
    "task opens a second session inside its first. The warnings of fastapi_asyncdb.pool name who "
    "holds it for long: call 'await db.commit()' before the slow work, and read with ReadDB, which "
    "waits for no writer."
)

_INSTEAD = {
    "statement_timeout": "Leave it out, or put 'async with asyncio.timeout(seconds)' around the work.",
    "lock_timeout": (
        "Writers take turns on one connection, so that only DATABASE_LOCK_TIMEOUT, for all of them, "
        "bounds the wait: set that instead."
    ),
}

_DIAGNOSES = {
    "locked": Diagnosis("Another process holds the file's write lock: wait for it, or end it"),
    "unable to open": Diagnosis(
        "The folder of the file does not exist or may not be written: create it, or correct the "
        "path in DATABASE_URL (three slashes for a relative path, four for an absolute one)",
        permanent=True,
    ),
    "readonly": Diagnosis(
        "The file or its folder may not be written: WAL keeps two more files beside it",
        permanent=True,
    ),
    "not a database": Diagnosis(
        "The file exists and is something else: correct the path in DATABASE_URL", permanent=True
    ),
}


async def interrupt(driver: Any) -> None:
    """Cut off the query that a connection's thread is busy with, if any, and wait until it is free."""
    # The thread works one thing off after the other: when it is here, the query is over. The
    # thread tells, since a busy event loop hears of it late, and an interrupt that comes too late
    # would hit what comes next.
    over = Event()
    turn = asyncio.ensure_future(driver._execute(over.set))
    while not (await asyncio.wait([turn], timeout=_TURN))[0]:
        if not over.is_set():
            with suppress(ValueError):
                await driver.interrupt()
    await turn


async def _rollback(driver: Any) -> None:
    try:
        await driver.rollback()
    except sqlite3.OperationalError:
        # While a cursor has rows that nobody fetched, an interrupt hits whatever runs next.
        # https://sqlite.org/c3ref/interrupt.html
        await driver._execute(_close_cursors, driver._conn)
        await driver.rollback()


def _close_cursors(connection: sqlite3.Connection) -> None:
    for found in gc.get_objects():
        if type(found) is sqlite3.Cursor and found.connection is connection:
            found.close()


def _in_memory(target: Target) -> bool:
    return target.url.query.get("mode") == "memory" or target.url.database == "file::memory:"


def _begin_immediate(connection: Connection) -> None:
    # The event fires for autocommit connections too, which must not have a transaction.
    if not commits_itself(connection.get_execution_options()):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _roll_back_failed_commits(engine: AsyncEngine) -> None:
    """End a transaction whose COMMIT fails, as other databases do by themselves.

    SQLite leaves it open, for a deferred foreign key for example, to be mended and committed again.
    SQLAlchemy takes it for over, and the pool would hand out its connection, and keep its lock.
    https://sqlite.org/lang_transaction.html#immediate_constraints_and_deferred_constraints
    """
    dialect = engine.sync_engine.dialect
    commit = dialect.do_commit

    def do_commit(dbapi_connection: PoolProxiedConnection) -> None:
        try:
            commit(dbapi_connection)
        except Exception:
            dialect.do_rollback(dbapi_connection)
            raise

    dialect.do_commit = do_commit  # type: ignore[method-assign]


def _begin_deferred(connection: Connection) -> None:
    # On the driver's cursor: to the guard of the reading engine, BEGIN is not reading.
    cursor = connection.connection.cursor()
    cursor.execute("BEGIN")
    cursor.close()


def _keep_alive(engine: AsyncEngine, target: Target) -> None:
    """Hold one idle connection, since SQLite drops an in-memory database with its last one."""
    (filename, *_), _ = engine.dialect.create_connect_args(target.url)
    anchor = sqlite3.connect(filename, uri=True, check_same_thread=False)
    event.listen(engine.sync_engine, "engine_disposed", lambda _: anchor.close())
