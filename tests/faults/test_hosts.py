"""Several hosts, of which the first is dead, frozen, or about to stop."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest
from sqlalchemy import text

from fastapi_asyncdb import Database, DatabaseSettings
from fastapi_asyncdb.dialects.postgresql import hosts
from fastapi_asyncdb.dialects.postgresql.hosts import HostOrder
from tests.support.databases import with_driver
from tests.support.tcp_proxy import tcp_proxy

pytestmark = pytest.mark.promise("T23")

SOON = 20.0
A, B, C = [(name, 5432) for name in "abc"]


@dataclass
class FirstHost:
    """A listener that is no server."""

    port: int = 0
    connections: int = 0


@asynccontextmanager
async def first_host(answer: bytes | None) -> AsyncIterator[FirstHost]:
    """Accept connections, and answer each with this, then close; ``None`` never answers."""
    host = FirstHost()
    ended = asyncio.Event()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host.connections += 1
        try:
            if answer is None:
                await ended.wait()
            elif answer:
                await reader.read(1)
                writer.write(answer)
                await writer.drain()
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with server:
        host.port = server.sockets[0].getsockname()[1]
        yield host
        ended.set()


def refusal(state: str) -> bytes:
    """Return the server's message that ends a login."""
    fields = f"SFATAL\0VFATAL\0C{state}\0Mgo away\0\0".encode()
    return b"E" + (len(fields) + 4).to_bytes(4) + fields


@pytest.fixture
def url_after(postgres_url: str, driver: str) -> Callable[..., str]:
    """Return a URL of this port and then the server's."""

    def url(port: int, query: str = "") -> str:
        parts = urlsplit(with_driver(postgres_url, driver))
        user, _, server = parts.netloc.rpartition("@")
        return parts._replace(netloc=f"{user}@127.0.0.1:{port},{server}", query=query).geturl()

    return url


async def connect_anew(database: Database) -> None:
    """Replace a connection."""
    async with asyncio.timeout(SOON), database.engine.connect() as connection:
        await connection.invalidate()
    async with asyncio.timeout(SOON), database.engine.connect() as connection:
        assert await connection.scalar(text("SELECT 1")) == 1


@pytest.mark.parametrize("query", ["", "sslmode=disable&target_session_attrs=read-write"])
async def test_silent_host_is_waited_for_once(url_after: Any, query: str):
    """Later connections go to the other one at once."""
    async with first_host(None) as silent:
        url = url_after(silent.port, query)
        async with Database(DatabaseSettings(url=url, connect_timeout=1)) as database:
            once = silent.connections
            for _ in range(5):
                await connect_anew(database)
            assert silent.connections == once


async def test_silent_host_is_tried_again_after_a_while(
    url_after: Any, monkeypatch: pytest.MonkeyPatch
):
    """It may be back, and be the better one."""
    monkeypatch.setattr(hosts, "SILENCE", 0.0)
    async with first_host(None) as silent:
        settings = DatabaseSettings(url=url_after(silent.port), connect_timeout=1)
        async with Database(settings) as database:
            once = silent.connections
            await connect_anew(database)
            assert silent.connections > once


async def test_host_whose_connections_fell_silent_is_not_waited_for(
    url_after: Any, postgres_url: str
):
    """A ping without an answer costs its time, and not that of a new connection as well."""
    async with tcp_proxy(urlsplit(postgres_url).port or 0) as proxy:
        settings = DatabaseSettings(
            url=url_after(proxy.port), connect_timeout=1, pool_ping_idle=0, max_overflow=0
        )
        async with Database(settings) as database:
            async with database.engine.connect() as connection:
                await connection.scalar(text("SELECT 1"))
            before = len(proxy.links)
            proxy.silent = True
            async with asyncio.timeout(SOON), database.engine.connect() as connection:
                assert await connection.scalar(text("SELECT 1")) == 1
            # Neither a new connection, nor a request to cancel the ping.
            assert len(proxy.links) == before
            proxy.silent = False


@pytest.mark.parametrize("state", ["57P01", "57P02", "57P03", ""])
async def test_host_that_stops_or_starts_is_passed_over(url_after: Any, state: str):
    """Also one that closes the connection without a word, as a proxy without a server does."""
    async with first_host(refusal(state) if state else b"") as stopping:
        url = url_after(stopping.port, "sslmode=disable")
        async with asyncio.timeout(SOON), Database(DatabaseSettings(url=url)) as database:
            await connect_anew(database)
            assert stopping.connections


def test_order_is_that_of_the_url_with_silent_hosts_last():
    """Several keep their order among themselves; an answer restores the place."""
    order = HostOrder()
    order.note_silence(A)
    order.note_silence(B)
    assert order.of([A, B, C]) == [C, A, B]
    order.note_answer(A)
    assert order.of([A, B, C]) == [A, C, B]


def test_one_connection_tries_a_host_that_was_silent(monkeypatch: pytest.MonkeyPatch):
    """Others do not wait for it at the same time."""
    order = HostOrder()
    monkeypatch.setattr(hosts, "SILENCE", 0.0)
    order.note_silence(A)
    monkeypatch.undo()
    assert order.of([A, B]) == [A, B]
    assert order.of([A, B]) == [B, A]
