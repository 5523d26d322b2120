"""Read replicas: who serves a session, what is left out, and what serves instead."""

import asyncio
import logging
import time
from contextlib import AsyncExitStack
from functools import partial
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI
from pydantic import BaseModel
from sqlalchemy import func, insert, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from fastapi_asyncdb import Database, DatabaseSettings, answer, rows
from fastapi_asyncdb.engine.connect_errors import Failure
from fastapi_asyncdb.engine.log_reader import LogReader
from fastapi_asyncdb.engine.seam import runs_of
from fastapi_asyncdb.errors import CannotConnect, ConfigurationError, ReadOnlySession
from fastapi_asyncdb.testing import PostgresReplica, PostgresServer
from tests.support.application import client, eventually
from tests.support.databases import with_driver
from tests.support.replicas import (
    WHERE,
    Servers,
    reader,
    readers,
    started,
    until_reads_go_to,
    until_reads_go_to_or_fail,
)


class Base(DeclarativeBase):
    pass


class Thing(Base):
    __tablename__ = "thing"
    id: Mapped[int] = mapped_column(primary_key=True)


class ThingOut(BaseModel):
    id: int


SNAPSHOT: Any = {"isolation_level": "REPEATABLE READ", "read_only": True}


def left_out(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was logged of replicas."""
    return [r.getMessage() for r in caplog.records if "The replica" in r.getMessage()]


async def test_reads_are_spread_and_writes_stay(servers: Servers, driver: str):
    """The dependency decides: what only reads goes to a standby, a snapshot as well."""
    async with started(servers.settings(driver)) as database:
        assert await readers(database) == servers.ports
        assert await readers(database, **SNAPSHOT) == servers.ports
        assert await readers(database, read_only=False) == {servers.primary.port}
        assert await readers(database, primary=True) == {servers.primary.port}
        async with database.read_session(primary=True) as session:
            assert await session.scalar(WHERE) == servers.primary.port


async def test_answers_are_those_of_the_sessions_server(servers: Servers, driver: str):
    """A standby answers what is read; what is written, the primary."""
    ports: set[int] = set()
    async with started(servers.settings(driver)) as database:
        for _ in range(30):
            async with database.read_session() as session:
                response = await answer(session, select(func.inet_server_port()), int)
                ports.add(int(bytes(response.body)))
        assert ports == servers.ports
        async with database.session() as session:
            [thing] = await rows(session, insert(Thing), ThingOut)
            assert thing.id > 0
            assert await session.scalar(WHERE) == servers.primary.port
            await session.rollback()


async def test_standby_has_no_serializable(servers: Servers, driver: str):
    """PostgreSQL refuses it there, so the primary serves."""
    async with started(servers.settings(driver)) as database:
        options = {"isolation_level": "SERIALIZABLE", "read_only": True}
        assert await readers(database, **options) == {servers.primary.port}


async def test_request_stays_with_one_replica(servers: Servers, driver: str):
    """Two replicas may be at different moments: time would run backwards for the handler."""
    database = Database(servers.settings(driver))
    app = FastAPI()

    @app.get("/")
    async def read(
        db: Annotated[AsyncSession, Depends(database.get_read_db)],
        snapshot: Annotated[AsyncSession, Depends(database.get_snapshot_db)],
    ) -> set[int]:
        return {(await each.execute(WHERE)).scalar_one() for each in [db, snapshot] * 5}

    async with database, client(app) as http:
        found = [(await http.get("/")).json() for _ in range(20)]
    assert {len(ports) for ports in found} == {1}
    assert {port for ports in found for port in ports} == servers.ports


async def test_server_itself_refuses_writes(servers: Servers, driver: str):
    """Also a server that was promoted since, which would take them."""
    settings = servers.settings(driver, replica_urls=[with_driver(servers.primary.url(), driver)])
    async with started(settings) as database, database.read_session() as session:
        with pytest.raises(ReadOnlySession, match="The server refused to write"):
            await session.execute(text("SELECT nextval('thing_id_seq')"))
        assert await session.scalar(text("SELECT 1")) == 1


async def test_replica_that_is_killed_is_left_out_and_comes_back(
    servers: Servers, driver: str, caplog: pytest.LogCaptureFixture
):
    """Its connections are lost; a session that finds none there is served by the primary."""
    killed, other = servers.replicas
    async with started(servers.settings(driver)) as database:
        assert await readers(database) == servers.ports
        await asyncio.to_thread(killed.kill)
        await until_reads_go_to_or_fail(database, {other.port})
        await asyncio.to_thread(killed.start)
        await until_reads_go_to(database, servers.ports)
    messages = left_out(caplog)
    assert len(messages) == 2
    assert f"127.0.0.1:{killed.port} is left out" in messages[0]
    assert "the other replicas" in messages[0]
    assert f"127.0.0.1:{killed.port} is back" in messages[1]


async def test_session_whose_replica_refuses_it_reads_from_the_primary(
    servers: Servers, driver: str
):
    """Between two looks at the replicas: no request fails that finds one of them gone."""
    async with started(servers.settings(driver)) as database:
        engines = runs_of(database).required()
        assert engines.replicas is not None
        async with AsyncExitStack() as stack:
            sessions = [await stack.enter_async_context(database.read_session()) for _ in range(20)]
            for replica in engines.replicas.all:
                await replica.engines.write.dispose()  # their next connection is a new one
            for server in servers.replicas:
                await asyncio.to_thread(server.kill)
            assert {await session.scalar(WHERE) for session in sessions} == {servers.primary.port}
        assert await readers(database) == {servers.primary.port}


@pytest.mark.parametrize("limit", [0.2, "1kB"])
async def test_replica_that_is_behind_is_left_out(
    servers: Servers, driver: str, limit: float | str, caplog: pytest.LogCaptureFixture
):
    """By seconds or by bytes; an idle primary makes no replica late."""
    paused, other = servers.replicas
    async with started(servers.settings(driver, max_replica_lag=limit)) as database:
        paused.psql("SELECT pg_wal_replay_pause()")
        await asyncio.sleep(0.5)
        await until_reads_go_to(database, servers.ports)
        async with database.session() as session:
            rows = "SELECT nextval('thing_id_seq') FROM generate_series(1, 100)"
            await session.execute(text(f"INSERT INTO thing {rows}"))
        await until_reads_go_to(database, {other.port})
        paused.psql("SELECT pg_wal_replay_resume()")
        await until_reads_go_to(database, servers.ports)
    messages = left_out(caplog)
    assert f"127.0.0.1:{paused.port} is left out: it is" in messages[0]
    assert "DATABASE_MAX_REPLICA_LAG allows" in messages[0]


async def test_reads_go_on_without_the_primary(servers: Servers, driver: str):
    """And writes are refused in time."""
    async with started(servers.settings(driver, max_replica_lag=5)) as database:
        await asyncio.to_thread(servers.primary.kill)
        assert await readers(database) == servers.ports
        with pytest.raises((CannotConnect, DBAPIError)):
            await reader(database, read_only=False)
        with pytest.raises(CannotConnect):
            await reader(database, read_only=False)
        assert await readers(database, **SNAPSHOT) == servers.ports


async def test_start_needs_no_replica(
    servers: Servers, driver: str, caplog: pytest.LogCaptureFixture
):
    """The primary serves until they are there."""
    for replica in servers.replicas:
        await asyncio.to_thread(replica.kill)
    async with started(servers.settings(driver)) as database:
        assert await readers(database) == {servers.primary.port}
        await asyncio.to_thread(servers.revive)
        await until_reads_go_to(database, servers.ports)
    assert any("Its reads go to the primary." in message for message in left_out(caplog))


async def test_replica_that_was_behind_before_the_start(
    servers: Servers,
    driver: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
):
    """For how long is not known, so it serves none before it has what the primary had at the start.

    Also when the primary answers last.
    """
    paused, other = servers.replicas
    paused.psql("SELECT pg_wal_replay_pause()")
    servers.primary.psql("INSERT INTO thing DEFAULT VALUES")
    other.wait_until_caught_up()
    read = LogReader.read

    async def read_slowly(reader: LogReader) -> int | Failure:
        await asyncio.sleep(0 if reader._engines.target.is_replica else 0.2)
        return await read(reader)

    monkeypatch.setattr(LogReader, "read", read_slowly)
    async with started(servers.settings(driver, max_replica_lag=600)) as database:
        assert await readers(database) == {other.port}
        paused.psql("SELECT pg_wal_replay_resume()")
        await until_reads_go_to(database, servers.ports)
    assert "bytes behind, since before it was watched, and" in left_out(caplog)[0]


async def test_lag_counts_from_the_question_to_the_primary(
    servers: Servers, driver: str, monkeypatch: pytest.MonkeyPatch
):
    """What is written while the answer is on its way may be missing since then."""
    read = LogReader.read
    written: list[float] = []

    async def read_while_another_writes(reader: LogReader) -> int | Failure:
        found = await read(reader)
        if not written and not reader._engines.target.is_replica:
            await asyncio.to_thread(servers.primary.psql, "INSERT INTO thing DEFAULT VALUES")
            written.append(time.monotonic())
        return found

    paused = servers.replicas[0]
    paused.psql("SELECT pg_wal_replay_pause()")
    monkeypatch.setattr(LogReader, "read", read_while_another_writes)
    async with started(servers.settings(driver)) as database:
        run = runs_of(database)._by_loop[asyncio.get_running_loop()]
        assert run.watch is not None
        history, replica = run.watch._history, run.watch._replicas.all[0]
        await eventually(lambda: history.missing(replica.replayed) > 0)
        now = time.monotonic()
        assert history.lag(replica.replayed, now) > now - written[0]


async def test_watch_goes_on_after_a_failure_of_its_own(servers: Servers, driver: str):
    """Such as that of a log handler: else a replica that was left out would never come back."""
    logger = logging.getLogger("fastapi_asyncdb.engine.replica_watch")
    failed = asyncio.Event()

    def fail_once(record: logging.LogRecord) -> bool:
        if failed.is_set():
            return True
        failed.set()
        raise ValueError("the disk is full")

    killed, other = servers.replicas
    logger.addFilter(fail_once)
    try:
        async with started(servers.settings(driver)) as database:
            await asyncio.to_thread(killed.kill)
            async with asyncio.timeout(10):
                await failed.wait()
            await until_reads_go_to_or_fail(database, {other.port})
            await asyncio.to_thread(killed.start)
            await until_reads_go_to(database, servers.ports)
    finally:
        logger.removeFilter(fail_once)


async def test_stop_closes_all_connections(servers: Servers, driver: str):
    """Of the pools and of the watch; another start has new ones."""
    database = Database(servers.settings(driver))
    for _ in range(2):
        async with database:
            assert await readers(database) == servers.ports
        for server in (servers.primary, *servers.replicas):
            await eventually(partial(has_no_clients, server))


def has_no_clients(server: PostgresServer | PostgresReplica) -> bool:
    """Return whether the client that asks is the only one."""
    clients = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
    return server.psql(clients) == "1"


@pytest.mark.parametrize(
    ("urls", "words"),
    [
        ("sqlite:///other.db", "replicas are copies of the primary"),
        ("postgresql+psycopg2://a/b", "cannot be used with async code"),
        ("postgresql://db2,db3/app", r"several hosts \(db2, db3\)"),
    ],
)
async def test_urls_that_are_no_replicas(servers: Servers, driver: str, urls: str, words: str):
    """The start refuses them."""
    with pytest.raises(ConfigurationError, match=f"(?i){words}"):
        await Database(servers.settings(driver, replica_urls=urls)).start()


async def test_database_without_replicas():
    """SQLite and MySQL are told of by name."""
    settings = DatabaseSettings(url="sqlite://", replica_urls="sqlite:///other.db")
    with pytest.raises(ConfigurationError, match="sqlite has no read replicas here"):
        await Database(settings).start()


async def test_passwords_of_replicas_are_secret(servers: Servers, caplog: pytest.LogCaptureFixture):
    """Neither the warning nor a repr has them."""
    caplog.set_level(logging.DEBUG)
    urls = "postgresql://postgres:hunter2@127.0.0.1:1/postgres"
    async with started(servers.settings("asyncpg", replica_urls=urls)) as database:
        assert await readers(database) == {servers.primary.port}
        shown = f"{database!r} {runs_of(database).required()!r} {database.pool_status()!r}"
    assert left_out(caplog)
    assert "hunter2" not in caplog.text + shown
