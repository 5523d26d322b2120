"""A proxy that speaks TLS in front of PostgreSQL, as cloud providers have it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

# https://www.postgresql.org/docs/current/protocol-message-formats.html
_SSL_REQUEST = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")
_GSS_REQUEST = (8).to_bytes(4, "big") + (80877104).to_bytes(4, "big")


@dataclass
class TLSProxy:
    """One listening port in front of one server. Without a context it forwards plain text."""

    server_port: int
    context: ssl.SSLContext | None = None
    direct: bool = False
    """Whether TLS begins with the first byte, without PostgreSQL's request for it."""
    limit: int | None = None
    """Go silent after so many bytes of the server on one connection."""
    port: int = 0
    protocols: list[str | None] = field(default_factory=list)
    """The ALPN protocol of each connection that was encrypted."""
    server: asyncio.Server | None = None
    """What listens."""
    _links: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def open_links(self) -> int:
        """How many connections neither side has closed."""
        return sum(not link.done() for link in self._links)

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one more connection, in a task of its own."""
        self._links.add(asyncio.create_task(self._link(reader, writer)))

    async def stop(self) -> None:
        """End the connections that are still open."""
        for link in self._links:
            link.cancel()
        await asyncio.gather(*self._links, return_exceptions=True)

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            # A client that refuses the certificate leaves in the middle of the handshake.
            with suppress(OSError, asyncio.IncompleteReadError):
                await self._forward(reader, writer)
        finally:
            # After a handshake that failed, a graceful close would never end.
            writer.transport.abort()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await self._negotiate(reader, writer)
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self.server_port)
        server_writer.write(first)
        pumps = {
            asyncio.create_task(_pump(reader, server_writer, None)),
            asyncio.create_task(_pump(server_reader, writer, self.limit)),
        }
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            server_writer.close()

    async def _negotiate(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        """Answer requests for encryption; return the first bytes that are for the server."""
        if self.direct:
            self._note_protocol(writer)
        while (first := await reader.readexactly(8)) in (_SSL_REQUEST, _GSS_REQUEST):
            encrypt = first == _SSL_REQUEST and self.context is not None
            writer.write(b"S" if encrypt else b"N")
            await writer.drain()
            if encrypt and self.context is not None:
                await writer.start_tls(self.context)
                self._note_protocol(writer)
        return first

    def _note_protocol(self, writer: asyncio.StreamWriter) -> None:
        self.protocols.append(writer.get_extra_info("ssl_object").selected_alpn_protocol())


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: int | None
) -> None:
    sent = 0
    while data := await reader.read(65536):
        passed = data if limit is None else data[: limit - sent]
        sent += len(passed)
        writer.write(passed)
        await writer.drain()


@asynccontextmanager
async def tls_proxy(
    server_port: int,
    context: ssl.SSLContext | None = None,
    *,
    direct: bool = False,
    limit: int | None = None,
    port: int = 0,
) -> AsyncIterator[TLSProxy]:
    """Listen on a port of 127.0.0.1, a free one by default, and forward to the server's."""
    proxy = TLSProxy(server_port, context, direct, limit)
    server = await asyncio.start_server(
        proxy.accept, "127.0.0.1", port, ssl=context if direct else None
    )
    proxy.server = server
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.stop()
