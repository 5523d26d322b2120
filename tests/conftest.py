"""Fixtures of the whole suite: a database of this worker's own, on each kind of database.

The server comes from the plugin of the testing kit, which starts one for all workers when the first test
needs it, or uses the one that TEST_DATABASE_URL names.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr
from sqlalchemy import MetaData

from fastapi_asyncdb import Database, DatabaseSettings
from fastapi_asyncdb.testing.databases.worker import empty_database
from fastapi_asyncdb.testing.servers.address import ServerAddress
from tests.support.databases import DATABASES, DRIVERS, POOLED, with_driver
from tests.support.initdb import initdb_once
from tests.support.kept_tables import KeptTables
from tests.support.pgbouncer import pgbouncer
from tests.support.promises import check_markers
from tests.support.tcp_proxy import Proxy, tcp_proxy

# What waits for processes and timeouts comes first: at the end of a run it would keep one worker
# busy while the others have nothing to do.
LONG = re.compile(
    r"tests/(testing/test_(plugin|servers)|example_app/test_served|test_benchmarks|faults/)"
)


# What waits for processes and timeouts comes first: at the end of a run it would keep one worker
# busy while the others have nothing to do.
LONG = re.compile(
    r"tests/(testing/test_(plugin|servers)|example_app/test_served|test_benchmarks|faults/)"
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the tests, and refuse a marker whose promise docs/promises.md does not have."""
    check_markers(items)
    items.sort(key=lambda item: LONG.match(item.nodeid) is None)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option by which the contract runs through a pooler."""
    parser.addoption(
        "--pooled", action="store_true", help="run on PostgreSQL behind PgBouncer instead"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what uses ``database_url`` on each database that its marker ``databases`` names."""
    if "database_url" in metafunc.fixturenames:
        usual = POOLED if metafunc.config.getoption("--pooled") else DATABASES
        marker = metafunc.definition.get_closest_marker("databases")
        names = marker.args if marker is not None else usual
        metafunc.parametrize("database_url", names, indirect=True)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """SQLAlchemy's async engines run on asyncio."""
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def _initdb_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Private servers start with a copy of the first one's data folder."""
    with initdb_once(tmp_path_factory.mktemp("initdb")):
        yield


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the developer's own DATABASE_* variables out of the tests."""
    for name in list(os.environ):
        if name.startswith("DATABASE_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def server_url(asyncdb_server: ServerAddress) -> str:
    """The server's own database, as superuser."""
    return asyncdb_server.url()


@pytest.fixture(scope="session")
def worker_database(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A database of this worker's own; the URL to it."""
    folder = tmp_path_factory.mktemp("worker")
    with empty_database(SecretStr(server_url), folder) as url:
        yield url.get_secret_value()


@pytest.fixture(scope="session")
def kept_tables(worker_database: str) -> Iterator[KeptTables]:
    """What the tests of this worker find in its database."""
    with closing(KeptTables(worker_database)) as kept:
        yield kept


@pytest.fixture
def postgres_url(kept_tables: KeptTables, request: pytest.FixtureRequest) -> str:
    """A PostgreSQL database: empty, or with the empty tables of the fixture ``tables`` if it is used."""
    wanted = "tables" in request.fixturenames
    kept_tables.reset(request.getfixturevalue("tables") if wanted else None)
    return kept_tables.url


@pytest.fixture
def missing_tables(database_url: str, tables: MetaData) -> MetaData | None:
    """The tables that the database does not have yet, for the start to create."""
    return tables if database_url.startswith("sqlite") else None


@pytest.fixture(scope="session")
def worker_pooler(worker_database: str) -> Iterator[str]:
    """A PgBouncer in front of the database of this worker; the URL through it."""
    with pgbouncer(worker_database) as url:
        yield url


@pytest.fixture
def pooled_url(postgres_url: str, worker_pooler: str) -> str:
    """An empty PostgreSQL database, through PgBouncer."""
    return worker_pooler


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> str:
    """Each driver for PostgreSQL."""
    name: str = request.param
    return name


@pytest.fixture
def driver_url(postgres_url: str, driver: str) -> str:
    """An empty PostgreSQL database, with each driver."""
    return with_driver(postgres_url, driver)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """An empty SQLite file."""
    return f"sqlite:///{tmp_path / 'test.db'}"


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> str:
    """An empty database: SQLite, PostgreSQL with each driver, or what the marker ``databases`` names."""
    kind, _, detail = request.param.partition("-")
    if kind == "postgresql":
        driver, _, pooled = detail.partition("-")
        url = request.getfixturevalue("pooled_url" if pooled else "postgres_url")
        return with_driver(url, driver)
    return "sqlite://" if detail == "memory" else str(request.getfixturevalue("sqlite_url"))


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A started handle on an empty database."""
    async with Database(DatabaseSettings(url=database_url)) as database:
        yield database


@pytest.fixture
def unused_port() -> Iterator[int]:
    """A port of 127.0.0.1 on which no server listens, and that no other process can take."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port of 127.0.0.1 that accepts connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.fixture
async def proxy(postgres_url: str) -> AsyncIterator[Proxy]:
    """A network in front of PostgreSQL that can be cut, or fall silent."""
    async with tcp_proxy(urlsplit(postgres_url).port or 5432) as proxy:
        yield proxy
