"""psycopg's connection: its cancelled queries end on the server, its errors show no password."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import Any, Self

import psycopg
from psycopg.errors import error_from_result
from psycopg.generators import execute

from fastapi_asyncdb import finishing
from fastapi_asyncdb.dialects.postgresql.first_statement import BeginningCursor
from fastapi_asyncdb.dialects.postgresql.hosts import no_note
from fastapi_asyncdb.finishing import finish

# Seconds between two looks for the server's answer; after the last one, the query is cancelled again.
_PAUSES = (0.001, 0.005, 0.01, 0.03, 0.05)


class _ServerCursor(psycopg.AsyncServerCursor[Any]):
    """A cursor on the server, which ends with its transaction: an open one needs no warning.

    SQLAlchemy closes it, unless its statement was refused before the cursor was opened.
    """

    def __del__(self, *warn: Any) -> None:
        pass


class PsycopgConnection(psycopg.AsyncConnection[Any]):
    """Wait until the server has cancelled a query; keep passwords out of errors.

    psycopg asks the server to cancel when its task is cancelled, but gives up and closes the socket
    when that is cancelled again, as AnyIO's scopes do again and again. A server in the middle of a
    query, and of a transaction with its locks, does not notice that.
    https://github.com/psycopg/psycopg/issues/1435
    """

    was_cancelled = False
    """Whether the server was asked to cancel; for the cursor, which resets it."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.note_silence: Callable[[], None] = no_note
        """Called when its server does not answer: of several hosts, others are tried first then."""
        self.server_cursor_factory = _ServerCursor
        self.cursor_factory = BeginningCursor

    @classmethod
    async def connect(cls, conninfo: str = "", **options: Any) -> Self:
        """Connect; an error keeps what libpq knows of the connection, but for its passwords."""
        try:
            return await super().connect(conninfo, **options)
        except psycopg.Error as error:
            finished: Any = error.pgconn
            # An older psycopg has libpq's own object there, which shows nothing.
            with suppress(AttributeError):
                finished.password, finished.info = b"", []
            raise

    async def cancel_safe(self, *, timeout: float = 30.0) -> None:  # noqa: ASYNC109 - psycopg's own
        """Cancel the query that runs, and again until the server has answered it.

        A cancellation goes by a connection of its own. A server that gets it before the query ignores
        it, and then runs the query to its end for a client that is gone.
        """
        self.was_cancelled = True
        await finish(self._cancel_until_answered(min(timeout, finishing.GRACE.handshake)))

    async def _cancel_until_answered(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while (left := deadline - loop.time()) > 0:
            await super().cancel_safe(timeout=left)
            for pause in _PAUSES:
                if not self._is_unanswered():
                    return
                await asyncio.sleep(pause)

    def _is_unanswered(self) -> bool:
        if self.pgconn.transaction_status != psycopg.pq.TransactionStatus.ACTIVE:
            return False
        # Looked at, not read: what psycopg waits with reads it.
        with selectors.DefaultSelector() as selector:
            selector.register(self.pgconn.socket, selectors.EVENT_READ)
            return not selector.select(0)

    async def forget_plans(self) -> None:
        """Drop all plans, here and on the server; in a transaction, on the server later.

        psycopg does the same after a rollback. It has no public call for it.
        """
        self._prepared.clear()
        if self.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
            async with self.lock:
                await self.wait(self._prepared.maintain_gen(self))

    def is_encrypted(self) -> bool:
        """Return whether the connection has TLS, to the server or to the pooler in front of it."""
        return bool(self.pgconn.ssl_in_use)

    async def leads_to_server(self) -> bool:
        """Return whether the server's process is the one that psycopg would cancel."""
        await self.set_autocommit(True)
        try:
            query = f"SELECT WHERE pg_backend_pid() = {self.info.backend_pid}"
            cursor = await self.execute(query.encode(), prepare=False)
        except (psycopg.ProgrammingError, psycopg.NotSupportedError):
            # No PostgreSQL, though it speaks its protocol.
            leads = True
        else:
            leads = cursor.rowcount == 1
        await self.set_autocommit(False)
        return leads


class PooledConnection(PsycopgConnection):
    """Send statements with each BEGIN, in the same round trip."""

    after_begin = ""

    def _start_query(self) -> Generator[Any, Any, None]:
        """Add them to the text of psycopg's own BEGIN, for which psycopg has no public call."""
        idle = self.pgconn.transaction_status == psycopg.pq.TransactionStatus.IDLE
        begins = idle and not self.autocommit and bool(self.after_begin)
        if not begins or self._pipeline:
            yield from super()._start_query()
            # A pipeline takes one statement at a time, and sends all of them at once.
            for statement in self.after_begin.split("; ") if begins else ():
                yield from self._exec_command(statement.encode())
            return
        self.pgconn.send_query(
            b"%s; %s" % (self._get_tx_start_command(), self.after_begin.encode())
        )
        for result in (yield from execute(self.pgconn)):
            if result.status != psycopg.pq.ExecStatus.COMMAND_OK:
                raise error_from_result(result, encoding=self.info.encoding)
