"""What MariaDB's errors do to a transaction: which ones end it, and which are retried."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, nullcontext
from typing import Any

import pytest
from sqlalchemy import insert, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import Database, DatabaseSettings
from fastapi_asyncdb.errors import ServerReadOnly, TransactionAborted
from fastapi_asyncdb.session.retry import is_retryable
from fastapi_asyncdb.testing.servers.mariadb import MariaDBServer, has_mariadb, mariadb_server
from tests.support.application import Counter, Note, checked_out, stored
from tests.support.databases import MARIADB, MYSQL_DRIVERS, with_driver
from tests.support.deadlocks import deadlock
from tests.support.kept_mysql_tables import connect
from tests.support.server_sql import number_of
from tests.support.tcp_proxy import tcp_proxy

pytestmark = [
    pytest.mark.databases(*MARIADB),
    pytest.mark.skipif(not has_mariadb(), reason="apt-get install mariadb-server"),
]


@pytest.fixture(params=MYSQL_DRIVERS)
def driver(request: pytest.FixtureRequest) -> str:
    """Each driver for MariaDB."""
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def server() -> Iterator[MariaDBServer]:
    """A server with options of its own."""
    with mariadb_server(options={"innodb_rollback_on_timeout": "ON"}) as server:
        ask(
            server,
            "CREATE TABLE note (id int PRIMARY KEY AUTO_INCREMENT, text varchar(200));"
            "CREATE TABLE counter (id int PRIMARY KEY, value int);"
            "CREATE USER app@'%' IDENTIFIED BY 'app'; GRANT ALL ON test.* TO app@'%'",
        )
        yield server


def ask(server: MariaDBServer, sql: str) -> None:
    """Run statements as root, who may write on a server that is read-only."""
    with closing(connect(server.url())) as connection:
        connection.cursor().execute(sql)


@asynccontextmanager
async def started(url: str, driver: str, **options: Any) -> AsyncIterator[Database]:
    """Run a ``Database``; afterwards no connection is in use."""
    async with Database(DatabaseSettings(url=with_driver(url, driver), **options)) as database:
        yield database
        assert checked_out(database) == 0


# --- Which errors end the transaction --------------------------------------------------------------


async def deadlocked(session: AsyncSession, other: AsyncSession) -> None:
    """Be the victim of a deadlock."""
    note = await session.scalar(select(Note.id))
    assert note is not None
    await deadlock(session, note)


async def lock_timeout(session: AsyncSession, other: AsyncSession) -> None:
    """Wait for a lock too long."""
    await other.execute(update(Counter).values(value=1))
    await session.execute(text("SET SESSION innodb_lock_wait_timeout = 1"))
    await session.execute(update(Counter).values(value=2))


async def changed_row(session: AsyncSession, other: AsyncSession) -> None:
    """Change a row that is no longer what the snapshot has."""
    await session.execute(text("SET SESSION innodb_snapshot_isolation = ON"))
    await session.execute(select(Counter))
    await other.execute(update(Counter).values(value=1))
    await other.commit()
    await session.execute(update(Counter).values(value=2))


async def changed_table(session: AsyncSession, other: AsyncSession) -> None:
    """Read a table that was altered after the snapshot."""
    await session.execute(select(Note))
    await other.execute(text("ALTER TABLE counter ADD COLUMN later int, ALGORITHM=COPY"))
    await session.execute(text("SELECT * FROM counter"))


async def statement_timeout(session: AsyncSession, other: AsyncSession) -> None:
    """Run longer than allowed."""
    await session.execute(text("SET STATEMENT max_statement_time = 0.05 FOR SELECT sleep(9)"))


async def killed_query(session: AsyncSession, other: AsyncSession) -> None:
    """Be interrupted by an administrator."""
    number = await number_of(session)
    statement = asyncio.create_task(session.execute(text("SELECT value + sleep(9) FROM counter")))
    await asyncio.sleep(0.2)
    await other.execute(text(f"KILL QUERY {number}"))
    await statement


@pytest.mark.promise("T9")
@pytest.mark.parametrize(
    ("failing", "number", "ends", "retried"),
    [
        (deadlocked, 1213, True, True),
        (lock_timeout, 1205, False, True),
        (changed_row, 1020, True, True),
        (changed_table, 1412, False, True),
        (statement_timeout, 1969, False, False),
        (killed_query, 1317, False, False),
    ],
)
async def test_error_ends_the_transaction_or_its_statement(
    database: Database, failing: Any, number: int, ends: bool, retried: bool
):
    """After an error that was caught, COMMIT is refused where the server has rolled back already."""
    async with database.session() as setup:
        setup.add(Counter(id=1, value=0))
    with pytest.raises(TransactionAborted) if ends else nullcontext():
        async with (
            database.session(isolation_level="REPEATABLE READ") as session,
            database.session() as other,
        ):
            session.add(Note(text="before"))
            await session.flush()
            with pytest.raises(DBAPIError) as caught:
                await failing(session, other)
            await other.rollback()
    driver_error: Any = caught.value.orig
    assert driver_error.args[0] == number
    assert is_retryable(caught.value) is retried
    assert await stored(database) == ([] if ends else ["before"])


@pytest.mark.promise("T9")
async def test_lock_timeout_ends_the_transaction_where_the_server_says_so(
    server: MariaDBServer, driver: str
):
    """With innodb_rollback_on_timeout the lock timeout rolls back everything."""
    ask(server, "REPLACE INTO counter VALUES (1, 0)")
    async with started(server.url(), driver, lock_timeout=1) as database:
        with pytest.raises(TransactionAborted):
            async with database.session() as session:
                session.add(Note(text="lost"))
                await session.flush()
                async with database.session() as other:
                    await other.execute(update(Counter).values(value=1))
                    with pytest.raises(DBAPIError):
                        await session.execute(update(Counter).values(value=2))
        assert await stored(database) == []


# --- Servers that take no writes ------------------------------------------------------------------

WRITE = insert(Note).values(text="written")


@pytest.fixture
def writable(server: MariaDBServer) -> Iterator[MariaDBServer]:
    """The server, which takes writes before and after the test."""
    yield server
    ask(server, "SET GLOBAL read_only = 0; DELETE FROM note")


async def write(database: Database) -> int:
    """Write, and return the server's port."""
    async with database.session() as session:
        await session.execute(WRITE)
        return int(await session.scalar(text("SELECT @@port")) or 0)


@pytest.mark.promise("T23")
async def test_writes_go_to_the_new_primary(writable: MariaDBServer, driver: str):
    """Behind a name or a proxy that leads to another server now: one error, and nothing is repeated."""
    url = writable.url(user="app").replace("app@", "app:app@")
    async with tcp_proxy(writable.port) as proxy:
        through = proxy.through(url).replace("app@", "app:app@")
        async with started(through, driver, pool_size=2, max_overflow=0) as database:
            await asyncio.gather(write(database), write(database))
            ask(writable, "SET GLOBAL read_only = 1")
            with pytest.raises(ServerReadOnly, match="became read-only") as caught:
                await write(database)
            assert is_retryable(caught.value)
            assert not caught.value.connection_invalidated
            # The proxy leads back to a server that takes writes: all connections are new.
            before = len(proxy.links)
            ask(writable, "SET GLOBAL read_only = 0")
            await asyncio.gather(*(write(database) for _ in range(4)))
            assert before < len(proxy.links) <= before + 2


async def test_server_that_was_read_only_before_is_no_failover(
    writable: MariaDBServer, driver: str
):
    """The error stays the server's, with a hint; a read-only transaction is nothing of the server's."""
    ask(writable, "SET GLOBAL read_only = 1")
    url = writable.url(user="app").replace("app@", "app:app@")
    async with started(url, driver) as database:
        with pytest.raises(DBAPIError, match="read-only already when") as caught:
            await write(database)
        assert not isinstance(caught.value, ServerReadOnly)
        ask(writable, "SET GLOBAL read_only = 0")
    async with started(url, driver) as database:
        with pytest.raises(DBAPIError, match="READ ONLY transaction") as caught:
            async with database.session() as session:
                await session.execute(text("SET TRANSACTION READ ONLY"))
                await session.execute(WRITE)
        assert not isinstance(caught.value, ServerReadOnly)
