"""What cannot be served now: outages, full pools, locks, timeouts; and what may have been stored."""

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import Database, DatabaseSettings, RetryRoute, install_error_handlers
from fastapi_asyncdb.errors import DatabaseUnavailable
from fastapi_asyncdb.testing import PostgresServer
from tests.contract.test_stop import stopping
from tests.support.application import client
from tests.support.databases import MARIADB
from tests.support.server_sql import sleep
from tests.support.tcp_proxy import Proxy
from tests.web.shelves import Base, shelves_app
from tests.web.test_problems import LOGGER, problem

SHELF = {"id": 100, "name": "first"}


def served(database: Database) -> FastAPI:
    """Return the application with its handlers."""
    app = shelves_app(database)
    install_error_handlers(app, metadata=Base.metadata)
    return app


@asynccontextmanager
async def running(url: str, **options: Any) -> AsyncIterator[tuple[Database, httpx.AsyncClient]]:
    """Run a database with the tables, and a client of the application on it."""
    async with Database(DatabaseSettings(url=url, environment="staging", **options)) as database:
        await database.start(create_tables=Base.metadata)
        async with client(served(database)) as http:
            yield database, http
        await database.stop()


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what a log with the usual level has, line by line."""
    records = [record for record in caplog.records if record.levelno >= logging.WARNING]
    text = [logging.Formatter().format(record) for record in records]
    return [line for each in text for line in each.splitlines()]


async def test_outage(driver: str, caplog: pytest.LogCaptureFixture):
    """Each request gets a 503 problem; the log has few lines, the beginning and the end once each."""
    with PostgresServer() as server:
        url = server.url().replace("postgresql:", f"postgresql+{driver}:")
        async with running(url, pool_ping_idle=0) as (database, http):
            await database.ping()
            await asyncio.gather(*(http.get("/shelves?name=a") for _ in range(10)))
            await asyncio.to_thread(server.kill)
            for _ in range(4):
                reads = [http.get("/shelves/1") for _ in range(40)]
                writes = [http.post("/shelves", json=SHELF) for _ in range(40)]
                for answer in await asyncio.gather(*reads, *writes):
                    problem(answer, 503, "database-unavailable")
                    assert answer.headers["Retry-After"] == "5"
            with pytest.raises(DatabaseUnavailable):
                await database.ping(timeout=1)
            await asyncio.to_thread(server.restart)
            await database.ping(timeout=5)
            for _ in range(3):
                assert (await http.get("/shelves?name=a")).status_code == 200
    found = lines(caplog)
    assert len(found) < 100, "\n".join(found)
    assert len([line for line in found if line.startswith("The database is away")]) == 1
    assert len([line for line in found if line.startswith("The database is back")]) == 1
    answers = [line for line in found if "was answered with 503" in line]
    assert 10 <= len(answers) <= 20  # ten in ten seconds
    assert len([line for line in found if "shelves.py" in line]) == 1


@pytest.mark.databases("postgresql-asyncpg", "postgresql-psycopg")
async def test_connection_that_is_lost_in_a_statement(database_url: str):
    """The work may be repeated: nothing was stored."""
    async with running(database_url) as (database, http):
        app: FastAPI = http._transport.app  # type: ignore[attr-defined]

        @app.post("/lost")
        async def lost(db: Annotated[AsyncSession, Depends(database.get_db)]) -> None:
            await db.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

        problem(await http.post("/lost"), 503, "database-unavailable")


async def test_full_pool(database_url: str):
    """503 with the time after which to try again."""
    options = {"pool_size": 1, "max_overflow": 0, "max_waiting": 0}
    async with running(database_url, **options) as (database, http), database.session() as session:
        await session.execute(text("SELECT 1"))
        answer = await http.post("/shelves", json=SHELF)
        problem(answer, 503, "database-busy")
        assert answer.headers["Retry-After"] == "2"


async def test_stop():
    """503 while the process shuts down and a job still runs."""
    began, may_end = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        async with database.session() as session:
            await session.execute(text("SELECT 1"))
            began.set()
            await may_end.wait()

    async with Database(DatabaseSettings(url="sqlite://")) as database:
        job = asyncio.create_task(work())
        await began.wait()
        stop = await stopping(database)
        async with client(served(database)) as http:
            problem(await http.get("/shelves?name=a"), 503, "service-stopping")
        may_end.set()
        await asyncio.gather(job, stop)


@pytest.mark.databases("postgresql-asyncpg", "postgresql-psycopg", *MARIADB)
async def test_timeouts_of_the_server(database_url: str):
    """504 for a statement that takes too long, 503 for a lock that is not free in time."""
    # MySQL waits for a lock in whole seconds.
    options = {"statement_timeout": 1.5, "lock_timeout": 0.1}
    async with running(database_url, **options) as (database, http):
        app: FastAPI = http._transport.app  # type: ignore[attr-defined]

        @app.post("/slow")
        async def slow(db: Annotated[AsyncSession, Depends(database.get_db)]) -> None:
            await db.execute(sleep(database, 60))

        problem(await http.post("/slow"), 504, "statement-timeout")
        assert (await http.post("/shelves", json=SHELF)).status_code == 201
        async with database.session() as session:
            await session.execute(text("SELECT 1 FROM shelf FOR UPDATE"))
            answer = await http.put("/shelves/100")
        problem(answer, 503, "lock-timeout")
        assert answer.headers["Retry-After"] == "1"


async def test_conflict(database_url: str, caplog: pytest.LogCaptureFixture):
    """503 when the attempts are used up; the attempts in between are neither answered nor logged."""
    caplog.set_level(logging.INFO, LOGGER)
    async with running(database_url, lock_timeout=0.05) as (database, http):
        app: FastAPI = http._transport.app  # type: ignore[attr-defined]
        runs = []

        class Twice(RetryRoute):
            attempts = 2

        async def conflict(db: Annotated[AsyncSession, Depends(database.get_db)]) -> None:
            runs.append(1)
            await db.execute(text(conflicting_statement(database_url)))

        app.router.add_api_route(
            "/conflict", conflict, methods=["POST"], route_class_override=Twice
        )
        with locked(database_url):
            problem(await http.post("/conflict"), 503, "transaction-conflict")
    assert len(runs) == 2
    (record,) = (record for record in caplog.records if record.name == LOGGER)
    assert "POST /conflict was answered with 503" in record.getMessage()


def conflicting_statement(url: str) -> str:
    """Return what a server answers as a conflict, and SQLite when it is not locked."""
    if url.startswith("mysql"):
        return "SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213, MESSAGE_TEXT = 'conflict'"
    raising = "DO $$ BEGIN RAISE EXCEPTION 'conflict' USING ERRCODE = '40001'; END $$"
    return raising if url.startswith("postgresql") else "DELETE FROM visit"


@contextmanager
def locked(url: str) -> Iterator[None]:
    """Lock a file of SQLite in the block, as another process would."""
    path = url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path if path != url else ":memory:")) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.rollback()


@pytest.mark.parametrize("at_commit", ["cut before", "cut after"])
async def test_commit_without_an_answer(proxy: Proxy, postgres_url: str, at_commit: Any):
    """500 with a type of its own, and no invitation to try again."""
    async with running(proxy.through(postgres_url)) as (_, http):
        proxy.at_commit = at_commit
        answer = await http.post("/shelves", json=SHELF)
        problem(answer, 500, "commit-outcome-unknown")
        assert "Retry-After" not in answer.headers
        proxy.at_commit = "forward"


async def test_exclusion_constraint(driver_url: str):
    """409 with the name of the constraint."""
    async with running(driver_url) as (database, http):
        app: FastAPI = http._transport.app  # type: ignore[attr-defined]
        async with database.session() as session:
            no_overlap = "CONSTRAINT no_overlap EXCLUDE USING gist (during WITH &&)"
            await session.execute(text(f"CREATE TABLE stay (during int4range, {no_overlap})"))

        @app.post("/stays")
        async def stay(db: Annotated[AsyncSession, Depends(database.get_db)]) -> None:
            await db.execute(text("INSERT INTO stay VALUES ('[1,5)')"))

        assert (await http.post("/stays")).status_code == 200
        body = problem(await http.post("/stays"), 409, "exclusion-violation")
        assert body["constraint"] == "no_overlap"
