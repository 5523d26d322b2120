"""Two ways to cancel, and a witness that shares no connection with the application."""

from __future__ import annotations

import asyncio
import sqlite3
import traceback
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Any

import anyio
import asyncpg
from sqlalchemy import event
from sqlalchemy.util import await_only

from fastapi_asyncdb import Database
from tests.support.application import checked_out, pools_of
from tests.support.kept_mysql_tables import connect
from tests.support.server_sql import sleep

FOREVER = 3600
"""Seconds, beyond any timeout of a test: what waits for them hangs."""

_COUNT = (
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000000000) "
    "SELECT count(*) FROM n"
)


_MYSQL_TRANSACTIONS = (
    "SELECT 1 FROM information_schema.innodb_trx JOIN information_schema.processlist "
    "ON id = trx_mysql_thread_id WHERE db = DATABASE() AND id <> CONNECTION_ID()"
)


def slow_query(database: Database) -> str:
    """Return a query that takes an hour."""
    if database.engine.dialect.name == "sqlite":
        return _COUNT
    return str(sleep(database, FOREVER))


def ignore_abandoned_connects() -> None:
    """Asyncpg forgets futures when it is cancelled while it connects; asyncio complains of them."""
    loop = asyncio.get_running_loop()
    report = loop.get_exception_handler()

    def handler(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not _is_abandoned_connect(context.get("exception")):
            if report is None:
                loop.default_exception_handler(context)
            else:
                report(loop, context)

    loop.set_exception_handler(handler)


def _is_abandoned_connect(error: BaseException | None) -> bool:
    if isinstance(error, asyncio.InvalidStateError):  # the answer to its wish for TLS came then
        return any(
            frame.filename.endswith("connect_utils.py")
            for frame in traceback.extract_tb(error.__traceback__)
        )
    return isinstance(error, ConnectionError | asyncpg.PostgresConnectionError)


@dataclass
class Cancellable:
    """Some work in a task, cancelled by ``task.cancel()`` or by an AnyIO scope around it."""

    work: Callable[[], Awaitable[Any]]
    how: str
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)

    def start(self) -> None:
        self.task = asyncio.create_task(self._scoped())

    async def _scoped(self) -> None:
        with self.scope:
            await self.work()

    async def cancel(self) -> None:
        """Cancel, and wait for the end."""
        if self.how == "scope":
            self.scope.cancel()
        else:
            self.task.cancel()
        await self.cancelled()

    async def cancelled(self) -> None:
        """Wait for the end."""
        with suppress(asyncio.CancelledError):
            await self.task


def pause(database: Database, name: str, seconds: float = 0.1) -> asyncio.Event:
    """Make the next COMMIT or ROLLBACK take a while; the event is set when it is under way."""
    reached = asyncio.Event()

    def wait(*_: object) -> None:
        if not reached.is_set():
            reached.set()
            await_only(asyncio.sleep(seconds))

    event.listen(database.engine.sync_engine, name, wait)
    return reached


def closed_connections(database: Database) -> list[object]:
    """Collect the connections that the writing pool closes."""
    closed: list[object] = []
    event.listen(
        database.engine.sync_engine, "close", lambda connection, _: closed.append(connection)
    )
    return closed


@dataclass
class Witness:
    """Looks at a database from outside."""

    database: Database
    url: str

    async def nothing_is_left_behind(self) -> None:
        """Nothing is checked out, the pools can count, no transaction is open, all may write."""
        assert checked_out(self.database) == 0
        for pool in pools_of(self.database):
            counted: Any = pool
            assert counted.checkedin() == counted.overflow() + counted.size()
        await self.nobody_else_holds_a_lock()

    async def nobody_else_holds_a_lock(self) -> None:
        if self.url.startswith("sqlite"):
            connection = sqlite3.connect(self.url.removeprefix("sqlite:///"), timeout=5)
            connection.execute("BEGIN IMMEDIATE")
            connection.close()
            return
        if self.url.startswith("mysql"):
            await self._no_transaction_is_open()
            return
        async with asyncio.timeout(5):
            while await self.sessions("state LIKE 'idle in transaction%' OR state = 'active'"):
                await asyncio.sleep(0.01)

    async def _no_transaction_is_open(self) -> None:
        with closing(connect(self.url)) as connection, connection.cursor() as cursor:
            async with asyncio.timeout(5):
                while cursor.execute(_MYSQL_TRANSACTIONS):
                    await asyncio.sleep(0.2)  # for 0.1 s after a read, the table stays as it is

    async def until(self, condition: str) -> None:
        """Wait until a backend that serves the application is in that state."""
        async with asyncio.timeout(10):
            while not await self.sessions(condition):
                await asyncio.sleep(0.01)

    async def sessions(self, condition: str) -> list[int]:
        """Return the backends that serve the application and are in that state."""
        rows = await self.ask(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
            f"AND application_name = 'fastapi_asyncdb' AND pid <> pg_backend_pid() AND ({condition})"
        )
        return [row["pid"] for row in rows]

    async def ask(self, sql: str, *arguments: object) -> list[Any]:
        """Ask PostgreSQL on a connection of one's own."""
        url = f"postgresql:{self.url.partition(':')[2]}"
        # A pooler keeps no prepared statements.
        connection = await asyncpg.connect(url, statement_cache_size=0)
        try:
            return list(await connection.fetch(sql, *arguments))
        finally:
            await connection.close()
