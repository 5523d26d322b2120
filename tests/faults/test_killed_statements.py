"""Statements of cancelled tasks on MariaDB: KILL from another connection ends them, and no others."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from typing import Any

import pytest
from sqlalchemy import text, update

from fastapi_asyncdb import Credentials, Database, DatabaseSettings
from fastapi_asyncdb.testing.servers.mariadb import MariaDBServer, has_mariadb, mariadb_server
from tests.support.application import Counter, checked_out, eventually
from tests.support.databases import MYSQL_DRIVERS, with_driver
from tests.support.grace import shorten
from tests.support.kept_mysql_tables import connect
from tests.support.server_sql import number_of
from tests.support.tcp_proxy import tcp_proxy

pytestmark = [
    pytest.mark.promise("T10"),
    pytest.mark.skipif(not has_mariadb(), reason="apt-get install mariadb-server"),
]

SLOW = update(Counter).values(value=text("value + sleep(60)"))
MANY = 100


@pytest.fixture(scope="module")
def server() -> Iterator[MariaDBServer]:
    """A server that these tests fill, and restart."""
    with mariadb_server() as server:
        ask(
            server,
            "CREATE TABLE counter (id int PRIMARY KEY, value int); INSERT INTO counter VALUES (1, 0); "
            "CREATE USER rotating@'%' IDENTIFIED BY 'old'; GRANT ALL ON test.* TO rotating@'%'",
        )
        yield server


@pytest.fixture(params=MYSQL_DRIVERS)
def driver(request: pytest.FixtureRequest) -> str:
    """Each driver for MariaDB."""
    name: str = request.param
    return name


@pytest.fixture(autouse=True)
def _old_password(server: MariaDBServer) -> None:
    ask(server, "ALTER USER rotating@'%' IDENTIFIED BY 'old' WITH MAX_USER_CONNECTIONS 2")


def with_password(server: MariaDBServer) -> str:
    """Return a URL for the user that may be refused."""
    return server.url(user="rotating").replace("rotating@", "rotating:old@")


def ask(server: MariaDBServer, sql: str) -> list[Any]:
    """Run statements on a connection of their own, and return the rows of the first."""
    with closing(connect(server.url())) as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        rows = list(cursor.fetchall())
        while cursor.nextset():
            pass
        return rows


def running(server: MariaDBServer) -> list[int]:
    """Return the threads that run the slow statement."""
    return [
        number
        for (number,) in ask(
            server,
            "SELECT id FROM information_schema.processlist WHERE info LIKE 'UPDATE counter%'",
        )
    ]


@asynccontextmanager
async def started(url: str, driver: str, **options: Any) -> AsyncIterator[Database]:
    """Run a ``Database``; afterwards no connection is in use."""
    password = options.pop("password", None)
    settings = DatabaseSettings(url=with_driver(url, driver), **options)
    async with Database(settings, password=password) as database:
        yield database
        await eventually(lambda: checked_out(database) == 0)


async def slow(database: Database) -> None:
    """Lock a row for a minute."""
    async with database.session() as session:
        await session.execute(SLOW)


async def under_way(database: Database, server: MariaDBServer) -> asyncio.Task[None]:
    """Start the slow statement, and wait until the server runs it."""
    task = asyncio.create_task(slow(database))
    await eventually(lambda: bool(running(server)))
    return task


async def cancel(*tasks: asyncio.Task[None]) -> None:
    """Cancel, and wait for the ends."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the library's warnings."""
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


async def test_thread_of_another_server_is_left_alone(
    server: MariaDBServer, driver: str, caplog: pytest.LogCaptureFixture
):
    """A proxy may lead the next connection elsewhere, where the number is another client's."""
    # The other server has given the lowest numbers to threads of its own.
    client_with_number(server, 30).close()
    with mariadb_server() as other:
        async with (
            tcp_proxy(server.port) as proxy,
            started(proxy.through(server.url()), driver) as database,
        ):
            task = await under_way(database, server)
            [number] = running(server)
            with closing(client_with_number(other, number)) as client:
                assert client.thread_id() == number
                proxy.server_port = other.port
                await cancel(task)
                assert is_connected(other, number)
    [warning] = warnings(caplog)
    assert "led to another server" in warning
    ask(server, f"KILL {number}")


async def test_thread_of_a_restarted_server_is_left_alone(server: MariaDBServer, driver: str):
    """Numbers begin anew: the number of the statement is another client's by then."""
    # The restarted server has given the lowest numbers to threads of its own.
    client_with_number(server, 30).close()
    async with (
        started(server.url(), driver) as database,
        database.engine.connect() as connection,
    ):
        number = await number_of(connection)
        raw: Any = await connection.get_raw_connection()
        thread = raw.driver_connection.server_thread
        await connection.invalidate()
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        with closing(client_with_number(server, number)) as other:
            assert other.thread_id() == number
            # As if the client had not heard yet that the old server is gone.
            await thread.kill()
            assert is_connected(server, number)


def client_with_number(server: MariaDBServer, number: int) -> Any:
    """Connect again and again, until the server has given a connection at least this number."""
    while (connection := connect(server.url())).thread_id() < number:
        connection.close()
    return connection


def is_connected(server: MariaDBServer, number: int) -> bool:
    """Return whether the server has the thread."""
    return bool(ask(server, f"SELECT 1 FROM information_schema.processlist WHERE id = {number}"))


async def test_rows_are_free_at_once(server: MariaDBServer, driver: str):
    """When the cancelled task has ended, another one may write the row without waiting."""
    async with started(server.url(), driver, lock_timeout=1) as database:
        await cancel(await under_way(database, server))
        async with database.session() as session:
            await session.execute(update(Counter).values(value=0))
        assert running(server) == []


async def test_many_at_once_are_ended_by_few_connections(
    server: MariaDBServer, driver: str, caplog: pytest.LogCaptureFixture
):
    """A hundred cancellations make two connections at a time, and all statements are ended."""
    async with started(server.url(), driver, pool_size=MANY) as database:
        tasks = [asyncio.create_task(slow(database)) for _ in range(MANY)]
        await eventually(lambda: len(running(server)) == MANY)
        ask(server, "FLUSH STATUS")
        await cancel(*tasks)
        await eventually(lambda: running(server) == [])
        [(_, most)] = ask(server, "SHOW GLOBAL STATUS LIKE 'Max_used_connections'")
        # Beside the hundred and the witness.
        assert int(most) <= MANY + 4
    assert warnings(caplog) == []


async def test_password_of_the_moment_is_used(server: MariaDBServer, driver: str):
    """The connection that ends a statement may be made long after that of the statement."""
    passwords = ["old"]
    url = server.url(user="rotating")
    async with started(
        url, driver, password=lambda: Credentials(passwords[-1], expires_in=None)
    ) as database:
        task = await under_way(database, server)
        ask(server, "ALTER USER rotating@'%' IDENTIFIED BY 'new'")
        passwords.append("new")
        await cancel(task)
        await eventually(lambda: running(server) == [])


async def test_full_server_is_waited_for(server: MariaDBServer, driver: str):
    """No connection is free to end the statement, until another client leaves."""
    async with started(with_password(server), driver, shutdown_timeout=0) as database:
        task = await under_way(database, server)
        with closing(connect(with_password(server))):
            task.cancel()
            await asyncio.sleep(0.3)
            assert not task.done()
        await asyncio.wait([task])
        await eventually(lambda: running(server) == [])


async def test_server_that_stays_full_is_told_of_in_bounded_time(
    server: MariaDBServer,
    driver: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
):
    """The statement goes on, which only the log can say."""
    shorten(monkeypatch, handshake=0.3)
    async with started(with_password(server), driver, shutdown_timeout=0) as database:
        task = await under_way(database, server)
        with closing(connect(with_password(server))):
            await cancel(task)
    [warning] = warnings(caplog)
    assert "may go on there with its locks" in warning
    assert "accepts no further connection" in warning
    [number] = running(server)
    ask(server, f"KILL {number}")
