"""``LogReader``: asks one server how far its log is, on a connection outside of the pool."""

from __future__ import annotations

import asyncio
import time

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from fastapi_asyncdb.engine.connect_errors import Failure, failure_of
from fastapi_asyncdb.engine.create import create_probe_engine
from fastapi_asyncdb.engine.engines import Engines, close_engine
from fastapi_asyncdb.engine.startup import attempt
from fastapi_asyncdb.finishing import finish
from fastapi_asyncdb.settings import DatabaseSettings
from fastapi_asyncdb.tracebacks import forget_locals

_LONGEST = 2.0
"""Seconds for one answer, if the time to connect is not shorter."""
_SOON = 0.5
"""Seconds; a server that took longer to fail is not asked again at once."""


class LogReader:
    """Send one query for a position, to one server.

    Args:
        engines: Of the server.
        settings: What they were made from.
        query: Returns a position.
    """

    def __init__(self, engines: Engines, settings: DatabaseSettings, query: str) -> None:
        self._seconds = min(settings.connect_timeout, _LONGEST) or _LONGEST
        self._engines = engines
        self._settings = settings.model_copy(update={"connect_timeout": self._seconds})
        self._engine = create_probe_engine(engines, self._settings, pings=False)
        self._query = query
        self._has_connected = False
        self._connection: AsyncConnection | None = None
        self._turn = asyncio.Lock()
        self._next: asyncio.Task[int | Failure] | None = None
        self._shared: set[asyncio.Task[int | Failure]] = set()

    async def read(self) -> int | Failure:
        """Return the position, or why there is none; in bounded time."""
        if self._has_connected:
            began = time.monotonic()
            found = await self._read_again()
            # Else its connection may have been lost since the last time. A ping would double the round
            # trips.
            if isinstance(found, int) or time.monotonic() - began > _SOON:
                return found
        return await self._connect()

    async def _connect(self) -> int | Failure:
        found: list[int] = []

        async def ask(connection: AsyncConnection) -> None:
            found.append(await connection.run_sync(_fetch, self._query))

        failure = await attempt(self._engines, self._settings, self._engine, ask)
        self._has_connected = failure is None
        return failure or found[0]

    async def _read_again(self) -> int | Failure:
        """Ask on the connection of the last time, which stays checked out: responses wait for it."""
        connection, self._connection = self._connection, None
        try:
            async with asyncio.timeout(self._seconds):
                connection = connection or await self._engine.connect()
                position = await connection.run_sync(_fetch, self._query)
        except BaseException as error:
            self._has_connected = False
            if connection is not None:
                await finish(_discard(connection))
            if not isinstance(error, Exception):
                raise
            forget_locals(error)
            return failure_of(error, self._engines.target, self._engines.preset, self._seconds)
        self._has_connected = position >= 0
        if self._has_connected:
            self._connection = connection
        else:
            # The URL may lead to another primary now.
            await finish(_discard(connection))
        return position

    async def read_shared(self) -> int | Failure | None:
        """Return a position of a moment after the call; calls at the same time share a query.

        A query that is under way does not count: the server may have answered it before the call.

        Returns:
            ``None`` if the reader is disposed of meanwhile.
        """
        task = self._next
        if task is None and not self._turn.locked():
            async with self._turn:  # the only caller: a task would cost half as much as the query
                return await self.read()
        if task is None:
            task = self._next = asyncio.create_task(self._read_in_turn())
            self._shared.add(task)
            task.add_done_callback(self._shared.discard)
        # The other callers wait on, when one is cancelled; and none is when the query is.
        await asyncio.wait([task])
        return None if task.cancelled() else task.result()

    async def dispose(self) -> None:
        """End the queries that are shared, and close the connection."""
        shared = set(self._shared)
        for task in shared:
            task.cancel()
        if shared:
            await asyncio.wait(shared)
        async with self._turn:  # of a caller without a task, whose query has a limit
            connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()
        await close_engine(self._engine, self._engines.preset)

    async def _read_in_turn(self) -> int | Failure:
        async with self._turn:
            self._next = None
            return await self.read()


def _fetch(connection: Connection, query: str) -> int:
    """Return the position; -1 without one. SQLAlchemy's own execution would cost twice as much."""
    cursor = connection.connection.cursor()
    try:
        cursor.execute(query)
        row = cursor.fetchone()
    finally:
        cursor.close()
    return -1 if row is None or row[0] is None else int(row[0])


async def _discard(connection: AsyncConnection) -> None:
    await connection.invalidate()
    await connection.close()
