"""A server that was down: few attempts to connect while it is, and all requests served soon after."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import Database, DatabaseSettings
from fastapi_asyncdb.errors import CannotConnect, DatabaseUnavailable, PoolTimeout
from fastapi_asyncdb.pool.server_limit import LONGEST_PAUSE
from fastapi_asyncdb.testing import (
    MariaDBServer,
    PostgresServer,
    mariadb_server,
    postgres_server,
)
from fastapi_asyncdb.testing.servers.mariadb import has_mariadb
from tests.support.application import checked_out, client, count_connects, eventually
from tests.support.cancelling import ignore_abandoned_connects
from tests.support.databases import DRIVERS, MYSQL_DRIVERS, with_driver
from tests.support.server_sql import sleep
from tests.support.tcp_proxy import tcp_proxy

pytestmark = pytest.mark.promise("T23")

LIMIT = 5
"""Connections that the pool may have."""
MANY = 200
"""Tasks at once."""
SOON = 20.0


Server = PostgresServer | MariaDBServer


@pytest.fixture(params=(*DRIVERS, *MYSQL_DRIVERS))
def driver(request: pytest.FixtureRequest) -> str:
    """Each driver of each server."""
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[PostgresServer]:
    """A server that these tests stop and start."""
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="module")
def own_mariadb() -> Iterator[MariaDBServer]:
    """Another one."""
    if not has_mariadb():
        pytest.skip("MariaDB is not installed: apt-get install mariadb-server")
    with mariadb_server() as server:
        yield server


@pytest.fixture
async def server(driver: str, request: pytest.FixtureRequest) -> AsyncIterator[Server]:
    """The server, which runs before and after each test."""
    kind = "own_mariadb" if driver in MYSQL_DRIVERS else "own_postgres"
    server: Server = request.getfixturevalue(kind)
    yield server
    await asyncio.to_thread(server.start)


@asynccontextmanager
async def running(url: str, driver: str, **options: Any) -> AsyncIterator[Database]:
    """Run a ``Database`` with a pool of 2 + 3; afterwards no connection is in use, and no task waits."""
    ignore_abandoned_connects()
    settings: dict[str, Any] = {"pool_size": 2, "max_overflow": LIMIT - 2, **options}
    async with Database(DatabaseSettings(url=with_driver(url, driver), **settings)) as database:
        yield database
        await eventually(lambda: checked_out(database) == 0)
        assert database.pool_status().waiting == 0


async def use(database: Database) -> None:
    """Use a connection."""
    async with database.session() as session:
        assert await session.scalar(text("SELECT 1")) == 1


async def use_by_many(database: Database) -> list[BaseException | None]:
    """Let many tasks use a connection; return their errors."""
    async with asyncio.timeout(SOON):
        uses = (use(database) for _ in range(MANY))
        return await asyncio.gather(*uses, return_exceptions=True)


async def test_server_that_is_down_gets_few_attempts(server: Server, driver: str):
    """One attempt answers all that wait, instead of one for each."""
    async with running(server.url(), driver) as database:
        await use_by_many(database)
        await asyncio.to_thread(server.stop)
        errors = await use_by_many(database)  # notices it
        assert any(isinstance(error, CannotConnect) for error in errors)
        attempts = count_connects(database)
        for _ in range(3):
            errors = await use_by_many(database)
            assert {type(error) for error in errors} == {CannotConnect}
        # Each group has one, and perhaps one more with a pause before it.
        assert 3 <= len(attempts) <= 6


async def test_failed_ping_allows_the_pool_no_further_attempts(server: Server, driver: str):
    """A health check has a connection of its own, and leaves the pause of the pool as it is."""
    async with running(server.url(), driver) as database:
        await use_by_many(database)
        await asyncio.to_thread(server.stop)
        await use_by_many(database)
        attempts = count_connects(database)
        for _ in range(3):
            with pytest.raises(DatabaseUnavailable):
                await database.ping()
            await use_by_many(database)
        assert len(attempts) <= 6


async def test_all_that_wait_are_served_when_the_server_is_back(server: Server, driver: str):
    """None that came after the start fails, however many there are: within a pause it is tried again."""
    async with running(server.url(), driver) as database:
        await use_by_many(database)
        await asyncio.to_thread(server.stop)
        for _ in range(3):
            await use_by_many(database)
        await asyncio.to_thread(server.start)
        attempts = count_connects(database)
        assert await use_by_many(database) == [None] * MANY
        assert len(attempts) <= LIMIT
    assert LONGEST_PAUSE <= 1


async def test_crash_and_immediate_restart_fails_no_later_request(server: Server, driver: str):
    """Connections of before are dead, and the pool replaces them: a ping finds it out."""
    async with running(server.url(), driver, pool_ping_idle=0) as database:
        await use_by_many(database)
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        assert await use_by_many(database) == [None] * MANY


async def test_requests_are_answered_503_without_an_attempt_of_their_own(
    server: Server, driver: str
):
    """After the outage the pool grows to its limit again."""
    app = FastAPI()
    async with running(server.url(), driver) as database, client(app) as http:

        @app.get("/")
        async def read(db: Annotated[AsyncSession, Depends(database.get_db)]) -> int:
            await db.execute(sleep(database, 0.01))
            return 1

        async def statuses() -> set[int]:
            requests = (http.get("/") for _ in range(50))
            return {response.status_code for response in await asyncio.gather(*requests)}

        await asyncio.to_thread(server.stop)
        assert await statuses() <= {500, 503}  # a statement may have been cut off
        attempts = count_connects(database)
        assert await statuses() == {503}
        assert len(attempts) < LIMIT
        await asyncio.to_thread(server.start)
        for _ in range(2):
            assert await statuses() == {200}
        assert database.pool_status().idle == LIMIT


async def test_error_is_the_outage_even_if_no_task_may_wait(server: Server, driver: str):
    """During a pause with ``max_waiting`` 0 the last attempt answers; a full pool is something else."""
    async with running(server.url(), driver, max_waiting=0) as database:
        await asyncio.to_thread(server.stop)
        await use_by_many(database)  # notices it
        errors = await use_by_many(database)
        assert {type(error) for error in errors} == {CannotConnect}
        await asyncio.to_thread(server.start)

        async def is_back() -> bool:
            try:
                await use(database)
            except CannotConnect:
                return False
            return True

        async with asyncio.timeout(SOON):
            while not await is_back():
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("driver", DRIVERS)
async def test_waiters_keep_their_chance_while_the_pool_has_a_connection(
    server: PostgresServer, driver: str
):
    """The server refuses new connections and goes on to serve those that it has."""
    role = f"refused_{driver}"
    server.psql(f"CREATE ROLE {role} LOGIN")
    url = server.url().replace("postgres@", f"{role}@")
    async with running(url, driver) as database, database.engine.connect() as connection:
        server.psql(f"ALTER ROLE {role} NOLOGIN")
        first = await asyncio.gather(use(database), return_exceptions=True)
        assert [type(error) for error in first] == [CannotConnect]
        later = [asyncio.create_task(use(database)) for _ in range(20)]
        await eventually(lambda: database.pool_status().waiting >= 19)
        await connection.close()
        async with asyncio.timeout(SOON):
            errors = await asyncio.gather(*later, return_exceptions=True)
        assert errors.count(None) >= 19
        server.psql(f"ALTER ROLE {role} LOGIN")


async def test_attempt_without_an_answer_holds_up_no_other(server: Server, driver: str):
    """A network that swallowed one attempt may be whole for the next."""
    async with (
        tcp_proxy(server.port) as proxy,
        running(
            proxy.through(server.url()), driver, connect_timeout=3, pool_timeout=SOON
        ) as database,
    ):
        proxy.silent = True
        async with database.engine.connect() as connection:
            await connection.invalidate()
        with pytest.raises(CannotConnect):
            await use(database)
        before = len(proxy.links)
        swallowed = asyncio.create_task(use(database))
        await eventually(lambda: len(proxy.links) > before)
        proxy.forget_open()
        proxy.silent = False
        await use(database)
        assert not swallowed.done()
        with pytest.raises(CannotConnect):
            await swallowed


@pytest.mark.parametrize("driver", DRIVERS)
async def test_wait_that_ends_names_what_the_server_said(server: PostgresServer, driver: str):
    """The pool has a connection, which stays in use; the server makes no other."""
    role = f"refused_wait_{driver}"
    server.psql(f"CREATE ROLE {role} LOGIN")
    url = server.url().replace("postgres@", f"{role}@")
    async with running(url, driver, pool_timeout=0.3) as database, database.engine.connect():
        server.psql(f"ALTER ROLE {role} NOLOGIN")
        with pytest.raises(CannotConnect):
            await use(database)
        errors = await use_by_many(database)
        messages = {str(error) for error in errors if isinstance(error, PoolTimeout)}
        assert messages
        assert all("not permitted to log in" in message for message in messages)
