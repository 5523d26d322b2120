"""A TCP proxy between the application and PostgreSQL: counts round trips."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Proxy:
    """One listening port in front of one server."""

    server_port: int
    port: int = 0
    round_trips: int = 0
    """How often a client spoke first, or after the server had answered."""
    links: set[asyncio.Task[None]] = field(default_factory=set)

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one more connection, in a task of its own."""
        self.links.add(asyncio.create_task(self._link(reader, writer)))

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self.server_port)
        clients_turn = True

        def client_spoke() -> None:
            nonlocal clients_turn
            self.round_trips += clients_turn
            clients_turn = False

        def server_spoke() -> None:
            nonlocal clients_turn
            clients_turn = True

        pumps = [
            asyncio.create_task(_pump(reader, server_writer, client_spoke)),
            asyncio.create_task(_pump(server_reader, writer, server_spoke)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            for end in (writer, server_writer):
                end.close()
                with suppress(OSError):
                    await end.wait_closed()


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, spoke: Callable[[], None]
) -> None:
    while data := await reader.read(65536):
        spoke()
        writer.write(data)
        await writer.drain()


@asynccontextmanager
async def tcp_proxy(server_port: int) -> AsyncIterator[Proxy]:
    """Listen on a free port of 127.0.0.1 and forward to the server's."""
    proxy = Proxy(server_port)
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        for link in proxy.links:
            link.cancel()
        await asyncio.gather(*proxy.links, return_exceptions=True)
