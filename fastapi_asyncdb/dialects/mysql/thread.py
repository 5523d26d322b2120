"""The thread of a connection on its server, and how it is ended from another connection.

MySQL and MariaDB do not notice that a client has closed its connection in the middle of a query: the
query goes on, and its transaction keeps its locks.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi_asyncdb.dialects.mysql.errors import number_of

logger = logging.getLogger(__name__)

_AT_ONCE = 2
"""So many connections at most are made at the same time to end threads."""
_PAUSE = 0.1
"""Seconds between two attempts to connect to a server that is full."""
_NO_SUCH_THREAD = 1094
"""ER_NO_SUCH_THREAD: it has ended by itself."""
_FULL = {1040, 1203, 1226}
_UNENDED = (
    "A statement whose request has ended could not be ended on the server, and may go on there with its "
    "locks. %s"
)

IDENTITY = "@@hostname, @@port, @@server_id, UUID_SHORT() >> 24"
"""Tells servers apart that share a name, as those behind a proxy do, and a server from itself before it
was restarted: ``UUID_SHORT()`` contains the second of the start.

https://dev.mysql.com/doc/refman/8.4/en/miscellaneous-functions.html#function_uuid-short
"""

Connect = Callable[[], Awaitable[Any]]
"""Makes a connection to the same server, or to one behind the same proxy."""


class Killer:
    """Ends threads of a server, few at the same time. One for each engine."""

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def kill(self, thread: ServerThread, what: str) -> None:
        """End the query or the connection of a thread.

        Numbers of threads mean nothing to another server, and begin anew with each start of one.

        Raises:
            AnotherServer: the connection did not lead to the server of the thread.
        """
        async with self._slots:
            connection = await _connect(thread.connect)
            try:
                server = await read(connection, f"SELECT {IDENTITY}")
                if server == thread.server:
                    await connection.query(f"KILL {what} {thread.number}")
                elif server[:3] != thread.server[:3]:
                    raise AnotherServer
                await connection.ensure_closed()
            finally:
                connection.close()


class AnotherServer(Exception):
    """A connection did not lead to the server of a thread."""


@dataclass(slots=True)
class ServerThread:
    """The server's side of one connection. Kept on the driver's connection as ``server_thread``."""

    number: int
    server: tuple[Any, ...]
    rolls_back_on_timeout: bool
    """Whether a lock that is not free in time ends the transaction, instead of the statement."""
    read_only: bool
    """Whether the server took no writes when the connection was made."""
    mariadb: bool
    timeouts: Mapping[str, str]
    """The server's variables for timeouts, as the settings have them."""
    killer: Killer
    connect: Connect
    running: bool = False
    """Whether the connection was given up although a statement may still run."""
    in_autocommit: bool = False
    """Whether SQLAlchemy has set the connection to autocommit, until its checkin."""
    isolation_level: str | None = None
    """Of the session, if it is another one than that of all."""

    async def kill(self, *, query: bool = False) -> None:
        """End the thread, with its statement and transaction; or its query alone."""
        try:
            await self.killer.kill(self, "QUERY" if query else "CONNECTION")
        except AnotherServer:
            logger.warning(
                _UNENDED,
                "The address led to another server than that of the statement, most likely through a "
                "proxy: set max_statement_time on the servers behind it.",
            )
        except asyncio.CancelledError:
            logger.warning(
                _UNENDED,
                "Most likely the server accepts no further connection, or the network is cut: the time "
                "to end it is over.",
            )
            raise
        except Exception as error:
            if number_of(error) != _NO_SUCH_THREAD:
                logger.warning(
                    _UNENDED, "Most likely the server accepts no connection.", exc_info=True
                )


async def _connect(connect: Connect) -> Any:
    """Connect; wait for a place on a server that is full, since most connections are short."""
    while True:
        try:
            return await connect()
        except Exception as error:
            if number_of(error) not in _FULL:
                raise
        await asyncio.sleep(_PAUSE)


async def read(connection: Any, query: str) -> tuple[Any, ...]:
    """Return the first row of a query, on a connection of either driver."""
    await connection.query(query)
    rows: tuple[tuple[Any, ...], ...] = connection._result.rows
    return rows[0]
