"""A server that accepts no more connections makes requests wait for those of their own pool."""

import asyncio
import logging
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Annotated, Any

import asyncpg
import pytest
from fastapi import Depends, FastAPI
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import Database, DatabaseSettings
from fastapi_asyncdb.errors import DatabaseUnavailable, PoolTimeout, TooManyWaiting
from fastapi_asyncdb.testing import postgres_server
from fastapi_asyncdb.testing.servers.postgresql import PostgresServer
from tests.support.application import checked_out, client, count_connects, eventually
from tests.support.cancelling import ignore_abandoned_connects
from tests.support.databases import with_driver
from tests.support.tcp_proxy import Proxy

pytestmark = pytest.mark.promise("T18")

ROOM = 6
"""Connections that the server accepts."""
SOON = 20.0
REFUSED = "too many clients already"
_ALIVE = "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY($1::int[])"


@pytest.fixture(scope="module")
def small_server() -> Iterator[PostgresServer]:
    """A server with few connections, all of them for everybody."""
    options = {"max_connections": str(ROOM), "superuser_reserved_connections": "0"}
    with postgres_server(options=options) as server:
        yield server


@pytest.fixture
def small_url(driver: str, small_server: PostgresServer) -> str:
    """The URL of that server, with each driver."""
    return with_driver(small_server.url(), driver)


class Others:
    """Another program, which has as many connections as it likes."""

    def __init__(self, server: PostgresServer) -> None:
        self._url = server.url()
        self._open: list[asyncpg.Connection] = []

    async def leave_room_for(self, free: int) -> None:
        """Take what is there, and give so many back."""
        await self._take_all()
        await self.give_back(free)

    async def _take_all(self) -> None:
        with suppress(asyncpg.TooManyConnectionsError):
            while True:
                self._open.append(await asyncpg.connect(self._url))

    async def give_back(self, number: int) -> None:
        """Close so many connections, and wait until the server has noticed."""
        left = [self._open.pop() for _ in range(number)]
        backends = [connection.get_server_pid() for connection in left]
        for connection in left:
            await connection.close()
        async with asyncio.timeout(SOON):
            while self._open and await self._open[0].fetchval(_ALIVE, backends):
                await asyncio.sleep(0.01)

    async def kill_application(self) -> None:
        """End the connections of the application."""
        await self._open[0].execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'fastapi_asyncdb'"
        )

    async def close(self) -> None:
        """Close all."""
        for connection in self._open:
            await connection.close()


@pytest.fixture
async def others(small_server: PostgresServer) -> AsyncIterator[Others]:
    """Another program on the same server."""
    others = Others(small_server)
    yield others
    await others.close()


@asynccontextmanager
async def started(url: str, **options: Any) -> AsyncIterator[Database]:
    """Run a handle with a pool of 2 + 3; afterwards nothing is in use, and all can be."""
    ignore_abandoned_connects()
    settings = {"pool_size": 2, "max_overflow": 3, "pool_timeout": SOON, **options}
    async with Database(DatabaseSettings(url=url, **settings)) as database:
        yield database
        await eventually(lambda: checked_out(database) == 0)
        pool: Any = database.engine.pool
        assert pool.waiting() == 0
        assert pool.checkedin() == pool.overflow() + pool.size()


def waiting(database: Database) -> int:
    """Return how many wait."""
    count: int = database.engine.pool.waiting()  # type: ignore[attr-defined]
    return count


async def use(database: Database, seconds: float = 0.0) -> None:
    """Use a connection."""
    async with database.engine.connect() as connection:
        await connection.scalar(text("SELECT 1"))
        await asyncio.sleep(seconds)


async def test_refused_connect_waits_for_a_connection_of_the_pool(small_url: str, others: Others):
    """The pool may have five, the server gives two: ten requests share these."""
    async with started(small_url) as database:
        await others.leave_room_for(1)
        attempts = count_connects(database)
        async with asyncio.timeout(SOON):
            await asyncio.gather(*(use(database, 0.02) for _ in range(10)))
        # One was accepted, and those that were on their way were refused.
        assert len(attempts) <= 4


async def test_refused_are_served_first_come_first_served(small_url: str, others: Others):
    """Who was refused comes before those who came later and had to wait."""
    served: list[int] = []

    async def take_turn(number: int) -> None:
        async with database.engine.connect():
            served.append(number)

    async with started(small_url) as database:
        await others.leave_room_for(0)
        async with asyncio.timeout(SOON):
            async with database.engine.connect():
                tasks = []
                for number in range(8):
                    tasks.append(asyncio.create_task(take_turn(number)))
                    await eventually(lambda: waiting(database) == len(tasks))
            await asyncio.gather(*tasks)
    assert served == list(range(8))


async def test_pool_grows_when_the_server_has_room_again(small_url: str, others: Others):
    """Nothing comes back to the pool; the server's other clients have left."""
    async with started(small_url) as database, AsyncExitStack() as held:
        await others.leave_room_for(0)
        await held.enter_async_context(database.engine.connect())
        waiters = [asyncio.create_task(database.engine.connect().start()) for _ in range(4)]
        await eventually(lambda: waiting(database) == 4)
        await others.close()
        async with asyncio.timeout(SOON):
            connections = await asyncio.gather(*waiters)
        for connection in connections:
            held.push_async_callback(connection.close)
        assert checked_out(database) == 5


async def test_full_server_is_not_asked_at_each_checkout(small_url: str, others: Others):
    """For a while the pool knows that there is no more."""
    async with started(small_url) as database:
        await others.leave_room_for(0)
        attempts = count_connects(database)
        began = time.monotonic()
        async with asyncio.timeout(SOON):
            for _ in range(20):
                await asyncio.gather(*(use(database) for _ in range(5)))
        # Four that came at once, and then about one in a second.
        assert 1 <= len(attempts) <= 5 + 2 * (time.monotonic() - began)


async def test_pool_without_a_connection_tries_again(small_url: str, others: Others):
    """All of its own were lost, and others took the places: it waits for one of theirs."""
    async with started(small_url) as database:
        await _lose_connections(database)
        await others.leave_room_for(0)
        attempts = count_connects(database)
        tasks = [asyncio.create_task(use(database)) for _ in range(8)]
        await eventually(lambda: len(attempts) > 6)
        await others.give_back(1)
        async with asyncio.timeout(SOON):
            await asyncio.gather(*tasks)


async def _lose_connections(database: Database) -> None:
    async with database.engine.connect() as connection:
        await connection.invalidate()


@pytest.mark.parametrize("lost", [False, True])
async def test_at_the_end_of_pool_timeout_the_error_says_that_the_server_refused(
    small_url: str, others: Others, lost: bool
):
    """It is a pool at its limit, whether the server or the settings set that."""
    async with started(small_url, pool_timeout=0.4) as database, AsyncExitStack() as stack:
        if lost:
            await _lose_connections(database)
        await others.leave_room_for(0)
        if not lost:
            await stack.enter_async_context(database.engine.connect())
        began = time.monotonic()
        with pytest.raises(PoolTimeout, match=REFUSED) as caught:
            await use(database)
        assert time.monotonic() - began > 0.3
        assert f"the {0 if lost else 1} that this pool has open, of at most 5" in str(caught.value)
        assert "max_connections" in str(caught.value)
        assert "DATABASE_POOL_SIZE" in str(caught.value)
        # Drivers keep the password in their frames.
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__


async def test_request_is_answered_503(small_url: str, others: Others):
    """As with any other pool at its limit."""
    app = FastAPI()
    async with started(small_url, pool_timeout=0.3) as database, client(app) as http:

        @app.get("/")
        async def read(db: Annotated[AsyncSession, Depends(database.get_db)]) -> int:
            return len((await db.execute(text("SELECT 1"))).all())

        await others.leave_room_for(0)
        async with database.engine.connect():
            response = await http.get("/")
        assert response.status_code == 503
        assert "max_connections" not in response.text
        assert (await http.get("/")).json() == 1


async def test_refused_connect_counts_for_max_waiting(small_url: str, others: Others):
    """If no request may wait, one that was refused may not either."""
    async with started(small_url, max_waiting=0) as database:
        await others.leave_room_for(0)
        async with database.engine.connect():
            with pytest.raises(TooManyWaiting, match=REFUSED):
                await use(database)


async def test_warning_has_the_arithmetic(
    small_url: str, others: Others, caplog: pytest.LogCaptureFixture
):
    """Requests are served, a little late; the log says once what to set."""
    async with started(small_url) as database:
        await others.leave_room_for(0)
        for _ in range(3):
            async with asyncio.timeout(SOON):
                await asyncio.gather(*(use(database, 0.01) for _ in range(5)))
    records = [record for record in caplog.records if record.levelno >= logging.WARNING]
    (record,) = (record for record in records if "max_connections" in record.getMessage())
    message = record.getMessage()
    assert REFUSED in message
    assert "1 open, of at most 5 (pool_size 2 + max_overflow 3)" in message
    assert (
        "(pool_size + max_overflow) x processes < max_connections - superuser_reserved_connections"
    ) in message


@pytest.mark.parametrize("seed", range(3))
async def test_no_slot_is_lost_whatever_is_cancelled_or_killed(
    small_url: str, others: Others, seed: int
):
    """Refused, waiting, connecting, querying, killed: afterwards the pool is as wide as before."""
    async with started(small_url, pool_timeout=5.0) as database:
        await others.leave_room_for(2)
        tasks = [asyncio.create_task(use(database, 0.01 * (n % 4))) for n in range(40)]
        for number, task in enumerate(tasks):
            if number % 3 == seed:
                await asyncio.sleep(0.004 * seed)
                task.cancel()
            if number == 20:
                await others.kill_application()
        async with asyncio.timeout(SOON):
            await asyncio.gather(*tasks, return_exceptions=True)
        assert waiting(database) == 0
        await others.close()
        # As many as the limit can be in use at once.
        async with asyncio.timeout(SOON), AsyncExitStack() as stack:
            connections = [database.engine.connect() for _ in range(5)]
            for connection in await asyncio.gather(*(c.start() for c in connections)):
                stack.push_async_callback(connection.close)
            assert checked_out(database) == 5


async def test_two_handles_share_a_small_server(small_url: str):
    """Together they may have more than the server: no request fails."""
    async with started(small_url) as one, started(small_url) as other:
        async with asyncio.timeout(SOON):
            await asyncio.gather(
                *(use(database, 0.005) for database in (one, other) for _ in range(60))
            )


@asynccontextmanager
async def full_pooler(server: PostgresServer) -> AsyncIterator[Proxy]:
    """Let one connection through, and refuse further ones as PgBouncer does at max_client_conn."""
    proxy = Proxy(server.port)
    refusals: set[asyncio.Task[None]] = set()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (request := await reader.readexactly(8))[4:] == _TLS_WANTED:
            writer.write(b"N")
        await reader.readexactly(int.from_bytes(request[:4]) - 8)
        fields = b"SFATAL\0C08P01\0Mno more connections allowed (max_client_conn)\0\0"
        writer.write(b"E" + (len(fields) + 4).to_bytes(4) + fields)
        await writer.drain()
        writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if proxy.links:
            refusals.add(asyncio.create_task(refuse(reader, writer)))
        else:
            proxy.accept(reader, writer)

    listener = await asyncio.start_server(accept, "127.0.0.1", 0)
    proxy.port = listener.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        listener.close()
        for task in proxy.links | refusals:
            task.cancel()
        await asyncio.gather(*proxy.links, *refusals, return_exceptions=True)


_TLS_WANTED = (80877103).to_bytes(4)


async def test_full_pooler_is_a_full_server(small_server: PostgresServer, driver: str):
    """PgBouncer has words, and SQLSTATEs, of its own for it."""
    async with (
        full_pooler(small_server) as proxy,
        started(proxy.through(small_server.url(), driver)) as database,
    ):
        attempts = count_connects(database)
        async with asyncio.timeout(SOON):
            await asyncio.gather(*(use(database, 0.01) for _ in range(10)))
        assert attempts


_OTHER_PROCESS = """
import asyncio, sys
from sqlalchemy import text
from fastapi_asyncdb import Database, DatabaseSettings

async def use(database):
    async with database.session() as session:
        await session.execute(text("SELECT pg_sleep(0.005)"))

async def main(url):
    settings = DatabaseSettings(url=url, pool_size=2, max_overflow=3)
    async with Database(settings) as database:
        for _ in range(3):
            await asyncio.gather(*(use(database) for _ in range(20)))

asyncio.run(main(sys.argv[1]))
"""


async def test_two_processes_share_a_small_server(small_url: str):
    """The other one is a worker of the same application."""
    run = await asyncio.create_subprocess_exec(sys.executable, "-c", _OTHER_PROCESS, small_url)
    try:
        async with started(small_url) as database, asyncio.timeout(2 * SOON):
            while run.returncode is None:
                await asyncio.gather(*(use(database, 0.005) for _ in range(20)))
        assert run.returncode == 0
    finally:
        if run.returncode is None:
            run.kill()
            await run.wait()


async def test_start_keeps_its_own_time(small_url: str, others: Others):
    """A start that finds the server full says so after ``startup_timeout``, as before."""
    await others.leave_room_for(0)
    settings = DatabaseSettings(url=small_url, startup_timeout=0.3, pool_timeout=SOON)
    with pytest.raises(DatabaseUnavailable, match=REFUSED):
        await Database(settings).start()
