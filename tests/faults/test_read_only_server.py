"""A server becomes read-only while another one takes over, and keeps its connections."""

import asyncio
import pickle
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from fastapi import APIRouter, Depends, FastAPI
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import Database, DatabaseSettings, RetryRoute
from fastapi_asyncdb.errors import CommitOutcomeUnknown, ReadOnlySession, ServerReadOnly
from fastapi_asyncdb.testing import PostgresReplica, PostgresServer, postgres_server
from tests.support.application import client, count_connects
from tests.support.databases import with_driver
from tests.support.tcp_proxy import tcp_proxy

SOON = 20.0
WRITE = "INSERT INTO thing DEFAULT VALUES"
WHERE = "SELECT inet_server_port()"


@dataclass
class Pair:
    """A primary and its standby, as a managed service has them."""

    primary: PostgresServer
    standby: PostgresReplica

    def url(self, driver: str, query: str = "") -> str:
        """Return a URL with both hosts, the primary first."""
        hosts = f"127.0.0.1:{self.primary.port},127.0.0.1:{self.standby.port}"
        return f"postgresql+{driver}://postgres@{hosts}/postgres{query}"

    async def demote(self) -> None:
        """Make the primary read-only: its connections stay, and so do their sessions."""
        await self._read_only_by_default("ALTER SYSTEM SET default_transaction_read_only = on")
        async with asyncio.timeout(SOON):
            # The server signals all of its processes before it accepts the next connection. An
            # older connection that sees the new value proves nothing about the others.
            while await self._read_only_by_default("SELECT pg_reload_conf()") != "on":
                await asyncio.sleep(0.01)

    async def _read_only_by_default(self, then: str) -> str:
        """Return the primary's setting as a new connection sees it, and run a statement after that."""
        connection = await asyncpg.connect(self.primary.url())
        try:
            setting = await connection.fetchval("SHOW default_transaction_read_only")
            await connection.execute(then)
            return str(setting)
        finally:
            await connection.close()

    async def promote(self) -> None:
        """Make the standby the primary."""
        connection = await asyncpg.connect(self.standby.url())
        assert await connection.fetchval("SELECT pg_promote()")
        await connection.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two servers with a table on them."""
    with postgres_server() as primary:
        primary.psql("CREATE TABLE thing (id serial PRIMARY KEY)")
        with primary.replica() as standby:
            standby.wait_until_caught_up()
            yield Pair(primary, standby)


@asynccontextmanager
async def started(url: str, **options: Any) -> AsyncIterator[Database]:
    """Run a handle with three connections, all of them open."""
    settings = {"pool_size": 3, "max_overflow": 0, **options}
    async with Database(DatabaseSettings(url=url, **settings)) as database:
        await backends(database)
        yield database


async def backends(database: Database) -> set[int]:
    """Open all connections of the pool, and return the processes that serve them."""
    async with AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(database.engine.connect()) for _ in range(3)]
        return {
            (await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one()
            for connection in connections
        }


async def write(database: Database) -> int:
    """Write, and return the server's port."""
    async with database.session() as session:
        await session.execute(text(WRITE))
        return int((await session.execute(text(WHERE))).scalar_one())


async def test_writes_go_to_the_new_primary_after_one_error(pair: Pair, driver: str):
    """With both hosts in the URL the next connection finds the one that takes writes."""
    async with started(pair.url(driver)) as database:
        assert await write(database) == pair.primary.port
        await pair.demote()
        await pair.promote()
        with pytest.raises(ServerReadOnly, match="became read-only") as caught:
            await write(database)
        assert not isinstance(caught.value, CommitOutcomeUnknown)
        assert not caught.value.connection_invalidated
        assert getattr(caught.value.orig, "sqlstate", None) == "25006"
        # Three connections were open: the other two are replaced as well, before they are used.
        ports = await asyncio.gather(*(write(database) for _ in range(12)))
        assert set(ports) == {pair.standby.port}


async def test_writes_go_to_the_new_primary_behind_a_proxy(pair: Pair, driver: str):
    """One host in the URL: its name, or its proxy, leads to another server now."""
    async with (
        tcp_proxy(pair.primary.port) as proxy,
        started(proxy.through(pair.primary.url(), driver)) as database,
    ):
        await pair.demote()
        await pair.promote()
        proxy.server_port = pair.standby.port
        with pytest.raises(ServerReadOnly):
            await write(database)
        ports = await asyncio.gather(*(write(database) for _ in range(12)))
        assert set(ports) == {pair.standby.port}


async def test_at_most_one_error_for_each_connection_under_load(pair: Pair, driver: str):
    """Those that are on their way at that moment fail too, and no others."""
    async with started(pair.url(driver)) as database:
        await pair.demote()
        await pair.promote()
        outcomes = await asyncio.gather(
            *(write(database) for _ in range(60)), return_exceptions=True
        )
        failed = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        assert 1 <= len(failed) <= 3
        assert {type(error) for error in failed} == {ServerReadOnly}


async def test_autocommit_write_finds_the_new_primary(pair: Pair, driver: str):
    """A statement without a transaction around it is told, and its connection replaced, too."""
    async with started(pair.url(driver)) as database:
        engine = database.engine.execution_options(isolation_level="AUTOCOMMIT")
        await pair.demote()
        await pair.promote()
        with pytest.raises(ServerReadOnly):
            async with engine.connect() as connection:
                await connection.execute(text(WRITE))
        async with engine.connect() as connection:
            await connection.execute(text(WRITE))
            assert (await connection.execute(text(WHERE))).scalar_one() == pair.standby.port


async def test_run_in_transaction_meets_no_error(pair: Pair, driver: str):
    """Nothing was written: the transaction runs again, on the new primary."""
    attempts = 0

    async def work(session: AsyncSession) -> int:
        nonlocal attempts
        attempts += 1
        await session.execute(text(WRITE))
        return int((await session.execute(text(WHERE))).scalar_one())

    async with started(pair.url(driver)) as database:
        await pair.demote()
        await pair.promote()
        assert await database.run_in_transaction(work) == pair.standby.port
    assert attempts == 2


async def test_retry_route_meets_no_error(pair: Pair, driver: str):
    """The client of such a route does not notice the failover."""
    async with started(pair.url(driver)) as database:
        router = APIRouter(route_class=RetryRoute)
        attempts: list[int] = []

        @router.post("/")
        async def post(db: Annotated[AsyncSession, Depends(database.get_db)]) -> int:
            attempts.append(1)
            await db.execute(text(WRITE))
            return int((await db.execute(text(WHERE))).scalar_one())

        app = FastAPI()
        app.include_router(router)
        await pair.demote()
        await pair.promote()
        async with client(app) as http:
            assert (await http.post("/")).json() == pair.standby.port
        assert len(attempts) == 2


async def test_between_two_primaries_reads_go_on_and_connects_are_few(pair: Pair, driver: str):
    """While no host takes writes, each error costs no new connection; then all is well."""
    async with started(pair.url(driver)) as database:
        await pair.demote()
        attempts = count_connects(database)
        loop = asyncio.get_running_loop()
        began, failures = loop.time(), 0
        while loop.time() < began + 1.5:
            with pytest.raises(DBAPIError) as caught:
                await write(database)
            assert getattr(caught.value.orig, "sqlstate", None) == "25006"
            failures += 1
            async with database.read_session() as session:
                await session.execute(text("SELECT count(*) FROM thing"))
        assert failures > 10
        # At most twice in a second for each of three.
        assert len(attempts) <= 3 * 2 * (loop.time() - began) + 3
        await pair.promote()
        async with asyncio.timeout(SOON):
            while await _fails(database):
                await asyncio.sleep(0.05)
        ports = await asyncio.gather(*(write(database) for _ in range(12)))
        assert set(ports) == {pair.standby.port}


async def _fails(database: Database) -> bool:
    outcomes = await asyncio.gather(*(write(database) for _ in range(6)), return_exceptions=True)
    return any(isinstance(outcome, DBAPIError) for outcome in outcomes)


@pytest.mark.parametrize("attrs", [None, "any", "read-write", "primary"])
async def test_first_connection_takes_the_host_that_fits(
    pair: Pair, driver: str, attrs: str | None
):
    """Without a wish in the URL it is the host that takes writes; a wish is a wish."""
    query = f"?target_session_attrs={attrs}" if attrs else ""
    await pair.promote()
    await pair.demote()
    async with started(pair.url(driver, query)) as database, database.read_session() as session:
        port = (await session.execute(text(WHERE))).scalar_one()
    # The old primary, which is read-only now, still believes that it is one.
    fits = pair.primary if attrs in ("any", "primary") else pair.standby
    assert port == fits.port


# --- Read-only because the session asked for it ------------------------------------------------------


@pytest.fixture
async def healthy_url(postgres_url: str, driver: str) -> str:
    """A server that takes writes, a table, and a function that writes."""
    connection = await asyncpg.connect(postgres_url)
    await connection.execute(
        "CREATE TABLE thing (id serial PRIMARY KEY);"
        "CREATE FUNCTION write_thing() RETURNS int LANGUAGE sql VOLATILE AS "
        "'INSERT INTO thing DEFAULT VALUES RETURNING id'"
    )
    await connection.close()
    return with_driver(postgres_url, driver)


@pytest.fixture
async def read_only_role_url(postgres_url: str, healthy_url: str) -> AsyncIterator[str]:
    """The same as a role that must not write.

    Roles belong to the server, and the workers of the suite share it: each test makes a role of its own.
    """
    role = f"looker_{secrets.token_hex(4)}"
    connection = await asyncpg.connect(postgres_url)
    await connection.execute(
        f"CREATE ROLE {role} LOGIN; ALTER ROLE {role} SET default_transaction_read_only = on;"
        f"GRANT USAGE ON SCHEMA public TO {role}; GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}"
    )
    parts = urlsplit(healthy_url)
    yield parts._replace(netloc=f"{role}@{parts.netloc.rpartition('@')[2]}").geturl()
    await connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
    await connection.close()


async def in_a_snapshot(database: Database) -> None:
    """Call a function that writes where only reading is meant."""
    async with database.session(isolation_level="REPEATABLE READ", read_only=True) as session:
        await session.execute(text("SELECT write_thing()"))


async def by_a_statement(database: Database) -> None:
    """Make one transaction read-only."""
    async with database.session() as session:
        await session.execute(text("SET TRANSACTION READ ONLY"))
        await session.execute(text(WRITE))


async def by_an_execution_option(database: Database) -> None:
    """Make one transaction read-only with SQLAlchemy's option."""
    async with database.engine.connect() as connection:
        await connection.execution_options(postgresql_readonly=True)
        await connection.execute(text(WRITE))


@pytest.mark.parametrize("work", [in_a_snapshot, by_a_statement, by_an_execution_option])
async def test_transaction_that_was_to_be_read_only_costs_no_connection(
    healthy_url: str, work: Any
):
    """The server is as it was, and the error as it ever was: repeating it would be of no use."""
    attempts = 0

    async def again(session: AsyncSession) -> None:
        nonlocal attempts
        attempts += 1
        await work(database)

    async with started(healthy_url) as database:
        before = await backends(database)
        for _ in range(5):
            with pytest.raises((DBAPIError, ReadOnlySession)) as caught:
                await work(database)
            assert not isinstance(caught.value, ServerReadOnly)
            assert isinstance(caught.value, ReadOnlySession) == (work is in_a_snapshot)
        with pytest.raises((DBAPIError, ReadOnlySession)):
            await database.run_in_transaction(again)
        assert attempts == 1
        assert await backends(database) == before


async def test_role_that_must_not_write_costs_one_connection_at_most(read_only_role_url: str):
    """Of a role's setting the driver cannot tell where it comes from: the pool as a whole stays."""
    attempts = 0

    async def again(session: AsyncSession) -> None:
        nonlocal attempts
        attempts += 1
        await session.execute(text(WRITE))

    async with started(read_only_role_url) as database:
        before = await backends(database)
        connects = count_connects(database)
        for _ in range(20):
            with pytest.raises(DBAPIError, match="default_transaction_read_only") as caught:
                await write(database)
            assert not isinstance(caught.value, ServerReadOnly)
        with pytest.raises(DBAPIError):
            await database.run_in_transaction(again)
        assert attempts == 1
        assert len(await backends(database) & before) >= 2
        assert len(connects) <= 3


async def test_setting_of_a_session_makes_no_storm(healthy_url: str):
    """It looks like a server's new setting, so connections are replaced, but not at each error."""
    loop = asyncio.get_running_loop()
    async with started(healthy_url) as database:
        connects = count_connects(database)
        began = loop.time()
        for _ in range(20):
            with pytest.raises(ServerReadOnly):
                async with database.session() as session:
                    await session.execute(text("SET default_transaction_read_only = on"))
                    await session.commit()
                    await session.execute(text(WRITE))
        assert len(connects) <= 3 * (1 + 2 * (loop.time() - began))


@pytest.mark.parametrize("attrs", ["standby", "prefer-standby", "read-only"])
async def test_standby_that_was_asked_for_is_kept(pair: Pair, driver: str, attrs: str):
    """A URL that asks for a standby has what it wants; a write is a mistake of the application."""
    async with started(pair.url(driver, f"?target_session_attrs={attrs}")) as database:
        before = await backends(database)
        await asyncio.sleep(0.6)
        for _ in range(3):
            with pytest.raises(DBAPIError) as caught:
                await write(database)
            assert not isinstance(caught.value, ServerReadOnly)
        assert await backends(database) == before


def test_error_survives_another_process():
    """Errors of workers are often pickled."""
    error = ServerReadOnly("message", ValueError("of the driver"))
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error)
    assert isinstance(copy.orig, ValueError)
