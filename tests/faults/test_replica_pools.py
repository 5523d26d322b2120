"""The pools of replicas: their numbers, their names in messages, what the testing kit does with them."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from fastapi_asyncdb import Database, DatabaseSettings
from fastapi_asyncdb.engine.seam import runs_of
from fastapi_asyncdb.errors import CannotConnect, PoolTimeout, SandboxError
from fastapi_asyncdb.pool.status import ReplicaStatus
from fastapi_asyncdb.testing import (
    DatabaseTemplate,
    count_queries,
    isolated_database,
    sandbox,
)
from tests.support.application import Base, Note, eventually
from tests.support.replicas import WHERE, Servers, reader, readers, started, until_reads_go_to

SNAPSHOT: Any = {"isolation_level": "REPEATABLE READ", "read_only": True}


def status(database: Database, port: int | None) -> ReplicaStatus:
    """Return the status of the replica with this port."""
    (found,) = (r for r in database.pool_status().replicas if r.host == f"127.0.0.1:{port}")
    return found


async def test_status_has_each_replica_with_its_pool(servers: Servers, driver: str):
    """A session of a replica is in use there, and not at the primary."""
    async with started(servers.settings(driver, pool_size=2, max_overflow=1)) as database:
        assert [each.host for each in database.pool_status().replicas] == [
            f"127.0.0.1:{replica.port}" for replica in servers.replicas
        ]
        async with database.session(**SNAPSHOT) as session:
            port = await session.scalar(WHERE)
            seen = status(database, port)
            assert (seen.serves, seen.problem, seen.lag, seen.missing) == (True, None, 0.0, 0)
            assert (seen.pool.size, seen.pool.limit, seen.pool.in_use) == (2, 3, 1)
            assert database.pool_status().in_use == 0
            longest = database.pool_status().longest_checkout
            assert longest is not None
            assert longest.server == f"replica 127.0.0.1:{port}"
            assert "in test_status_has_each_replica_with_its_pool" in longest.place
        assert status(database, port).pool.in_use == 0


async def test_status_says_why_a_replica_does_not_serve(servers: Servers, driver: str):
    """One that is down, and one that is behind."""
    killed, paused = servers.replicas
    async with started(servers.settings(driver, max_replica_lag="1B")) as database:
        await asyncio.to_thread(killed.kill)
        await eventually(lambda: not status(database, killed.port).serves)
        assert "it does not answer" in str(status(database, killed.port).problem)
        paused.psql("SELECT pg_wal_replay_pause()")
        async with database.session() as session:
            await session.execute(text("INSERT INTO thing DEFAULT VALUES"))
        await eventually(lambda: not status(database, paused.port).serves)
        assert "bytes behind" in str(status(database, paused.port).problem)
        assert status(database, paused.port).missing > 0
        await asyncio.to_thread(servers.revive)
        await until_reads_go_to(database, servers.ports)
        assert all(each.serves for each in database.pool_status().replicas)


async def test_hold_warning_names_the_server(
    servers: Servers, driver: str, caplog: pytest.LogCaptureFixture
):
    """The one that the connection goes to: with a server that is down, that is another one."""
    async with started(servers.settings(driver, hold_warning=0.05)) as database:
        options: Any
        for options in (SNAPSHOT, {}):
            async with database.session(**options) as session:
                port = await session.scalar(WHERE)
                role = "replica" if options else "primary"
                words = f"connection to the {role} 127.0.0.1:{port} checked out for"
                await logged(caplog, words)
        async with database.session(**SNAPSHOT) as session:
            await lose_replicas(database, servers)
            assert await session.scalar(WHERE) == servers.primary.port
            await logged(caplog, words, times=2)


async def logged(caplog: pytest.LogCaptureFixture, words: str, times: int = 1) -> None:
    """Wait until something is in the log."""
    await eventually(lambda: caplog.text.count(words) == times)


async def lose_replicas(database: Database, servers: Servers) -> None:
    """Kill them; the next session there has to connect, and is refused."""
    replicas = runs_of(database).required().replicas
    assert replicas is not None
    for replica in replicas.all:
        await replica.engines.write.dispose()
    for server in servers.replicas:
        await asyncio.to_thread(server.kill)


async def test_errors_of_a_full_pool_name_the_server(servers: Servers, driver: str):
    """Its pool has the limits of the settings, as each of the others has."""
    full = {"pool_size": 1, "max_overflow": 0, "max_waiting": 0}
    urls = [servers.replicas[0].url()]
    settings = servers.settings(driver, replica_urls=urls, **full)
    async with started(settings) as database, database.session(**SNAPSHOT) as session:
        port = await session.scalar(WHERE)
        words = f"No connection to the replica 127.0.0.1:{port} is free: the only one is in use"
        with pytest.raises(PoolTimeout, match=words):
            await reader(database)
        async with database.session() as writer:
            await writer.execute(WHERE)
            with pytest.raises(PoolTimeout, match="No connection to the primary"):
                await reader(database, primary=True)


async def test_outage_of_the_primary_is_logged_as_one(
    servers: Servers, driver: str, caplog: pytest.LogCaptureFixture
):
    """Since the others go on."""
    async with started(servers.settings(driver)) as database:
        await asyncio.to_thread(servers.primary.kill)
        for _ in range(2):
            with pytest.raises((CannotConnect, DBAPIError)):
                await reader(database, read_only=False)
    assert f"The primary 127.0.0.1:{servers.primary.port} is away" in caplog.text


async def test_statements_on_replicas_are_counted(servers: Servers, driver: str):
    """Those of a budget in a test count wherever they go."""
    async with started(servers.settings(driver)) as database:
        with count_queries(database) as seen:
            await readers(database)
        assert len(seen) == 30


async def test_sandbox_has_no_replicas(servers: Servers, driver: str):
    """They would not see what is never committed; sessions from before are refused there as well."""
    async with started(servers.settings(driver)) as database:
        before = database.read_session()
        early = await before.__aenter__()
        async with sandbox(database) as session:
            await session.execute(text("INSERT INTO thing VALUES (-1)"))
            await session.commit()
            async with database.read_session() as reading:
                assert await reading.scalar(text("SELECT id FROM thing WHERE id < 0")) == -1
            assert database.pool_status().replicas == ()
            with pytest.raises(SandboxError, match="from before this sandbox"):
                await early.scalar(WHERE)
        await before.__aexit__(None, None, None)
        assert await readers(database) == servers.ports


async def create_tables(database: Database) -> None:
    """Prepare a template."""
    async with database.engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)


async def test_test_database_has_no_replicas(servers: Servers, driver_url: str):
    """Its settings are those of the application, whose replicas are copies of another database."""
    urls = [replica.url() for replica in servers.replicas]
    settings = DatabaseSettings(url=servers.primary.url(), replica_urls=urls)
    database = Database(settings, metadata=Base.metadata)
    async with (
        DatabaseTemplate(driver_url, create_tables) as template,
        isolated_database(database, template),
    ):
        async with database.session() as session:
            session.add(Note(text="here"))
        async with database.read_session() as session:
            assert (await session.scalars(select(Note.text))).all() == ["here"]
        assert database.pool_status().replicas == ()
