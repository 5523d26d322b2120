"""asyncpg's connection, which keeps the message with which its server ends it. Imports asyncpg."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from weakref import ref

import asyncpg

from fastapi_asyncdb.dialects.keepalive import set_keepalives
from fastapi_asyncdb.dialects.postgresql.hosts import no_note

_ERROR = ord("E")
_HEADER = 5


class AsyncpgConnection(asyncpg.Connection):  # type: ignore[misc]
    """Keep the server's message when it ends an idle connection.

    asyncpg reads it, has no query that it would answer, and throws it away: the next query finds a
    connection that is closed, for no reason.
    """

    def __init__(self, protocol: Any, transport: Any, *rest: Any) -> None:
        super().__init__(protocol, transport, *rest)
        self.note_silence: Callable[[], None] = no_note
        """Called when its server does not answer: of several hosts, others are tried first then."""
        self._raw_transport = transport
        self.last_message: dict[str, str] = {}
        """The fields of the server's last message, by their codes, if it was fatal.
        https://www.postgresql.org/docs/current/protocol-error-fields.html"""
        transport.set_protocol(_Listener(protocol, self))

    def keep_alive(self, arguments: Mapping[str, int]) -> None:
        """Set the options by which TCP notices that its peer is gone."""
        socket = self._raw_transport.get_extra_info("socket")
        if socket is not None:
            set_keepalives(socket.fileno(), arguments)

    def is_encrypted(self) -> bool:
        """Return whether the connection has TLS, to the server or to the pooler in front of it."""
        return self._raw_transport.get_extra_info("ssl_object") is not None

    async def leads_to_server(self) -> bool:
        """Return whether the server's process is the one that asyncpg would cancel.

        As text, since a prepared statement would stay on another client's connection.
        """
        query = f"SELECT WHERE pg_backend_pid() = {self.get_server_pid()}"
        try:
            return bool(await self.execute(query) == "SELECT 1")
        except (asyncpg.SyntaxOrAccessError, asyncpg.FeatureNotSupportedError):
            # No PostgreSQL, though it speaks its protocol. Any other error is a pooler's whose server is
            # down, or the server's own at its end.
            return True


class PooledConnection(AsyncpgConnection):
    """Send statements with each BEGIN, in the same round trip."""

    after_begin = ""

    async def execute(self, query: str, *args: Any, **options: Any) -> str:
        """Add them to the text of a BEGIN, as asyncpg's own transactions send it."""
        if self.after_begin and not args and query.startswith("BEGIN"):
            query = f"{query.rstrip(';')}; {self.after_begin}"
        return str(await super().execute(query, *args, **options))


class _Listener(asyncio.Protocol):
    """Passes everything on to asyncpg, and looks at data that begins with an error."""

    def __init__(self, inner: asyncio.Protocol, connection: AsyncpgConnection) -> None:
        # Weak, as asyncpg's own: the event loop keeps the transport, and the garbage collector closes a
        # connection to which no reference is left.
        self._connection = ref(connection)
        self._receive = inner.data_received
        self.connection_lost = inner.connection_lost  # type: ignore[method-assign]
        self.eof_received = inner.eof_received  # type: ignore[method-assign]
        self.pause_writing = inner.pause_writing  # type: ignore[method-assign]
        self.resume_writing = inner.resume_writing  # type: ignore[method-assign]

    def data_received(self, data: bytes) -> None:
        """Pass it on: a Python call for each packet, 0.1 us."""
        if data[0] == _ERROR:
            self._remember(data)
        self._receive(data)

    def _remember(self, data: bytes) -> None:
        fields, connection = dict(_fields(data)), self._connection()
        if connection is not None and fields.get("V") in ("FATAL", "PANIC"):
            connection.last_message = fields


def _fields(data: bytes) -> Iterator[tuple[str, str]]:
    """Yield the fields of an ErrorResponse, each a code and a text."""
    size = int.from_bytes(data[1:_HEADER], "big") + 1
    for field in data[_HEADER:size].split(b"\0"):
        if field:
            yield chr(field[0]), field[1:].decode(errors="replace")
