"""A primary is killed or stopped under load, and its standby promoted: what clients hear is true."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import Database, DatabaseSettings
from fastapi_asyncdb.errors import ServerReadOnly
from fastapi_asyncdb.testing import PostgresReplica, PostgresServer, postgres_server
from fastapi_asyncdb.testing.servers.process import StopMode
from tests.support.failover import TABLE, load, stored
from tests.support.tcp_proxy import tcp_proxy

pytestmark = pytest.mark.promise("T23")

SOON = 20.0
WRITE = "INSERT INTO entry VALUES ((SELECT coalesce(max(id), 0) + 1000 FROM entry))"
WHERE = "SELECT inet_server_port()"


@dataclass
class Pair:
    """Two servers; each commit of the primary waits for the standby."""

    primary: PostgresServer | PostgresReplica
    standby: PostgresServer | PostgresReplica

    def url(self, driver: str, query: str = "") -> str:
        """Return a URL with both hosts, the primary first."""
        hosts = f"127.0.0.1:{self.primary.port},127.0.0.1:{self.standby.port}"
        return f"postgresql+{driver}://postgres@{hosts}/postgres{query}"

    async def end_primary(self, how: StopMode | None) -> None:
        """Stop the primary; ``None`` kills it."""
        if how is None:
            await asyncio.to_thread(self.primary.kill)
        else:
            await asyncio.to_thread(self.primary.stop, how)

    async def promote(self) -> None:
        """Make the standby the primary."""
        await asyncio.to_thread(self.standby.promote)

    def swap(self) -> None:
        """Let the old primary, which does not run, follow the new one."""
        self.primary.follow(self.standby, synchronous=True)
        self.primary, self.standby = self.standby, self.primary

    def repair(self) -> None:
        """Have a primary and a standby again, without rows."""
        if not self.primary.is_running():
            if self.standby.psql("SELECT pg_is_in_recovery()") == "t":
                self.standby.promote()
            self.swap()
        self.primary.psql("TRUNCATE entry")
        self.standby.wait_until_caught_up()


@pytest.fixture(scope="module")
def servers() -> Iterator[Pair]:
    """Two servers, which these tests kill."""
    with postgres_server() as first:
        first.psql(TABLE)
        with first.replica(synchronous=True) as second:
            yield Pair(first, second)


@pytest.fixture
def pair(servers: Pair) -> Pair:
    """A primary and its standby, with an empty table."""
    servers.repair()
    return servers


@asynccontextmanager
async def started(url: str) -> AsyncIterator[Database]:
    """Run a ``Database`` with one connection, which is open."""
    settings = DatabaseSettings(url=url, pool_size=1, max_overflow=0)
    async with Database(settings) as database, asyncio.timeout(SOON):
        await where(database)
        yield database


async def where(database: Database) -> int:
    """Read, and return the server's port."""
    async with database.read_session() as session:
        return int((await session.execute(text(WHERE))).scalar_one())


async def write(database: Database) -> int:
    """Write, and return the server's port."""
    async with database.session() as session:
        await session.execute(text(WRITE))
        return int((await session.execute(text(WHERE))).scalar_one())


async def in_time(step: Callable[[Database], Awaitable[int]], database: Database) -> int:
    """Do the same, as soon as a server lets it."""
    while True:
        with suppress(DBAPIError):
            return await step(database)
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("how", [None, "fast", "immediate"])
async def test_what_was_acknowledged_is_on_the_new_primary(
    pair: Pair, driver: str, how: StopMode | None
):
    """What was refused is not there, and only what is in doubt may be there or not."""
    async with asyncio.timeout(SOON), load(pair.url(driver)) as answers:
        await pair.end_primary(how)
        await answers.failures(1)
        await answers.good_reads(3)  # from the standby, which takes no writes yet
        await pair.promote()
        await answers.writes(50)
    rows = stored(pair.standby)
    assert answers.lost(rows) == set()
    assert answers.unexpected(rows) == set()
    assert rows <= answers.acknowledged | answers.in_doubt
    # Clients may repeat these: the server is away, or reads only.
    assert set(answers.failed.values()) == {"database-unavailable"}
    assert set(answers.failed_reads) <= {"database-unavailable"}


async def test_old_primary_that_is_back_as_a_standby_gets_no_writes(pair: Pair, driver: str):
    """Though the URL names it first: after a switchover both servers run, and one of them writes."""
    async with asyncio.timeout(SOON), load(pair.url(driver)) as answers:
        await pair.end_primary("fast")
        await pair.promote()
        await asyncio.to_thread(pair.swap)
        await answers.writes(20)
        before = dict(answers.failed)
        await answers.writes(50)
        await answers.good_reads(10)
        assert answers.failed == before
    rows = stored(pair.primary)
    assert (answers.lost(rows), answers.unexpected(rows)) == (set(), set())


async def test_smart_shutdown_ends_when_the_pool_has_left(pair: Pair, driver: str):
    """The server refuses new connections (57P03) and waits for those that it has."""
    async with started(pair.url(driver)) as database:
        stopping = asyncio.create_task(pair.end_primary("smart"))
        await until_refused(pair.primary.url())
        assert await write(database) == pair.primary.port
        async with database.engine.connect() as connection:
            await connection.invalidate()
        await stopping
        assert await where(database) == pair.standby.port
        await pair.promote()
        assert await in_time(write, database) == pair.standby.port


async def until_refused(url: str) -> None:
    """Wait until the server refuses new connections."""
    while True:
        try:
            connection = await asyncpg.connect(url)
        except asyncpg.CannotConnectNowError:
            return
        await connection.close()


async def test_name_that_leads_to_the_demoted_server_and_then_on(pair: Pair, driver: str):
    """One host, whose name changes late: reads go on, a write fails once, and the next one finds it."""
    async with (
        tcp_proxy(pair.primary.port) as proxy,
        started(proxy.through(pair.primary.url(), driver)) as database,
    ):
        await pair.end_primary("fast")
        await pair.promote()
        await asyncio.to_thread(pair.swap)
        assert await in_time(where, database) == pair.standby.port
        with pytest.raises(ServerReadOnly, match="RetryRoute"):
            await write(database)
        proxy.server_port = pair.primary.port
        assert await in_time(write, database) == pair.primary.port


async def test_transaction_that_began_before_the_promotion_may_be_repeated(pair: Pair, driver: str):
    """It stays read-only on a server that takes writes by now; the next one writes."""
    attempts = 0

    async def work(session: AsyncSession) -> int:
        nonlocal attempts
        attempts += 1
        await session.execute(text("SELECT 1"))
        if attempts == 1:
            await pair.promote()
        await session.execute(text(WRITE))
        return int((await session.execute(text(WHERE))).scalar_one())

    async with started(pair.url(driver, "?target_session_attrs=any")) as database:
        await pair.end_primary(None)
        assert await in_time(where, database) == pair.standby.port
        assert await database.run_in_transaction(work) == pair.standby.port
    assert attempts == 2
