"""Fixtures of the whole suite: one PostgreSQL per run, one database per worker, both backends."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from fastapi_asyncdb import Database, DatabaseSettings
from fastapi_asyncdb.testing.servers.folder import free_port
from fastapi_asyncdb.testing.servers.postgresql import PostgresServer
from tests.tcp_proxy import Proxy, tcp_proxy

_cleanup = pytest.StashKey[ExitStack]()
_server_url = pytest.StashKey[str]()

# Whoever is called "locked" needs a password over TCP.
_HBA = "host all locked 127.0.0.1/32 scram-sha-256"


def pytest_configure(config: pytest.Config) -> None:
    """Start one PostgreSQL for the run, in the process that all workers come from."""
    worker_input: dict[str, Any] | None = getattr(config, "workerinput", None)
    if worker_input is not None:
        config.stash[_server_url] = worker_input["postgres_url"]
        return
    stack = config.stash[_cleanup] = ExitStack()
    given = os.environ.get("TEST_POSTGRES_URL")
    config.stash[_server_url] = given or stack.enter_context(PostgresServer(hba=_HBA)).url()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell each xdist worker where the server is."""
    node.workerinput["postgres_url"] = node.config.stash[_server_url]


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the server."""
    if _cleanup in config.stash:
        config.stash[_cleanup].close()


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """SQLAlchemy's async engines run on asyncio."""
    return "asyncio"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the developer's own DATABASE_* variables out of the tests."""
    for name in list(os.environ):
        if name.startswith("DATABASE_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def server_url(pytestconfig: pytest.Config) -> str:
    """The server's own database, as superuser."""
    return pytestconfig.stash[_server_url]


@pytest.fixture(scope="session")
def worker_database(server_url: str) -> Iterator[str]:
    """A database of this worker's own; the URL to it."""
    name = f"asyncdb_test_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
    asyncio.run(_administer(server_url, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
    asyncio.run(_administer(server_url, f"CREATE DATABASE {name}"))
    head, _, query = server_url.partition("?")
    yield f"{head.rpartition('/')[0]}/{name}" + (f"?{query}" if query else "")
    asyncio.run(_administer(server_url, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))


@pytest.fixture
def postgres_url(worker_database: str) -> str:
    """An empty PostgreSQL database."""
    asyncio.run(_administer(worker_database, "DROP SCHEMA public CASCADE; CREATE SCHEMA public"))
    return worker_database


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """An empty SQLite file."""
    return f"sqlite:///{tmp_path / 'test.db'}"


@pytest.fixture
def unused_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    return free_port()


@pytest.fixture
async def proxy(postgres_url: str) -> AsyncIterator[Proxy]:
    """A network in front of PostgreSQL that can be cut, or fall silent."""
    async with tcp_proxy(urlsplit(postgres_url).port or 5432) as proxy:
        yield proxy


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """An empty database, once on SQLite and once on PostgreSQL."""
    name = "sqlite_url" if request.param == "sqlite" else "postgres_url"
    url: str = request.getfixturevalue(name)
    return url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A started handle on an empty database."""
    async with Database(DatabaseSettings(url=database_url)) as database:
        yield database


async def _administer(url: str, sql: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()
