"""A TCP proxy between the application and its server: counts round trips, and cuts at COMMIT."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from tests.support.databases import with_driver


@dataclass
class Proxy:
    """One listening port in front of one server."""

    server_port: int
    port: int = 0
    commit_word: bytes = rb"(?<![A-Z])COMMIT(?!TED)"
    """The pattern of a message that commits; neither AUTOCOMMIT nor READ COMMITTED does."""
    round_trips: int = 0
    """How often a client spoke first, or after the server had answered."""
    at_commit: Literal["forward", "cut before", "cut after", "swallow"] = "forward"
    """Cut the connection before COMMIT reaches the server, or when it has answered; or swallow the
    answer and leave the connection as it is."""
    silent: bool = False
    """Take everything, forward nothing, close nothing: a network that swallows packets."""
    forgotten: int = 0
    """As many of the first connections are silent, and later ones are not."""
    held: int = 0
    """What clients say on as many of the first connections waits until ``released`` is set."""
    holding: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when one of them has said something."""
    released: asyncio.Event = field(default_factory=asyncio.Event)
    commit_seen: asyncio.Event = field(default_factory=asyncio.Event)
    links: set[asyncio.Task[None]] = field(default_factory=set)

    def open(self) -> int:
        """Return how many connections are open."""
        return sum(not link.done() for link in self.links)

    def forget_open(self) -> None:
        """Let the connections of now fall silent, as a firewall does that was replaced."""
        self.forgotten = len(self.links)

    def hold_open(self) -> None:
        """Let the connections of now be slower than later ones, until ``released`` is set."""
        self.held = len(self.links)

    def through(self, url: str, driver: str | None = None) -> str:
        """Return a URL of the server's through the proxy, with this driver or the URL's own."""
        parts = urlsplit(url if driver is None else with_driver(url, driver))
        return parts._replace(netloc=f"{parts.username}@127.0.0.1:{self.port}").geturl()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one more connection, in a task of its own."""
        number = len(self.links)
        self.links.add(asyncio.create_task(self._link(number, reader, writer)))

    async def _link(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self.server_port)
        clients_turn = True
        committing = False

        def silent() -> bool:
            return self.silent or number < self.forgotten

        def client_spoke(data: bytes) -> bool:
            nonlocal clients_turn, committing
            if silent():
                return False
            self.round_trips += clients_turn
            clients_turn = False
            # Drivers send it as text, whatever the message around it.
            committing = re.search(self.commit_word, data) is not None
            if committing:
                self.commit_seen.set()
            return self._go_on(cut=committing and self.at_commit == "cut before")

        def server_spoke(data: bytes) -> bool:
            nonlocal clients_turn
            clients_turn = True
            if silent() or (committing and self.at_commit == "swallow"):
                return False
            return self._go_on(cut=committing and self.at_commit == "cut after")

        async def until_released() -> None:
            if number < self.held:
                self.holding.set()
                await self.released.wait()

        pumps = [
            asyncio.create_task(_pump(reader, server_writer, client_spoke, until_released)),
            asyncio.create_task(_pump(server_reader, writer, server_spoke)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # All of it before the next await, which may be cancelled.
            for pump in pumps:
                pump.cancel()
            for end in (writer, server_writer):
                end.transport.abort()
            await asyncio.gather(*pumps, return_exceptions=True)

    def _go_on(self, *, cut: bool) -> bool:
        if cut:
            raise ConnectionAbortedError
        return True


async def _at_once() -> None:
    """Wait for nothing."""


async def _pump(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    spoke: Callable[[bytes], bool],
    wait: Callable[[], Awaitable[None]] = _at_once,
) -> None:
    while data := await reader.read(65536):
        if spoke(data):
            await wait()
            writer.write(data)
            await writer.drain()


@asynccontextmanager
async def tcp_proxy(server_port: int, port: int = 0) -> AsyncIterator[Proxy]:
    """Listen on this or a free port of 127.0.0.1 and forward to the server's."""
    proxy = Proxy(server_port)
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", port)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        for link in proxy.links:
            link.cancel()
        await asyncio.gather(*proxy.links, return_exceptions=True)
