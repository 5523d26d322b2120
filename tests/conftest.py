"""Fixtures of the whole suite: a database of this worker's own, on each kind of database.

The servers come from the plugin of the testing kit, which starts one of each kind for all workers when
the first test needs it. Or they are those that TEST_DATABASE_URL (PostgreSQL) and TEST_MYSQL_URL (MySQL
or MariaDB) name.
"""

from __future__ import annotations

import gc
import os
import re
import shutil
import socket
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import hypothesis
import pytest
from pydantic import SecretStr
from sqlalchemy import MetaData, create_engine

from fastapi_asyncdb import Database, DatabaseSettings
from fastapi_asyncdb.testing import RedisServer, given_server, redis_server
from fastapi_asyncdb.testing.databases.copies import unique_name
from fastapi_asyncdb.testing.databases.temporary import empty_database
from fastapi_asyncdb.testing.servers.address import ServerAddress
from fastapi_asyncdb.testing.servers.mariadb import has_mariadb
from fastapi_asyncdb.testing.servers.shared import ask, running_server
from tests.support import hanging
from tests.support.databases import DATABASES, DRIVERS, POOLED, with_driver
from tests.support.drivers import select_drivers
from tests.support.initdb import initdb_once
from tests.support.kept_mysql_tables import KeptMySQLTables, mysql_database
from tests.support.kept_tables import KeptTables
from tests.support.matrix import keep_collected
from tests.support.pgbouncer import pgbouncer
from tests.support.promises import check_markers
from tests.support.tcp_proxy import Proxy, tcp_proxy
from tests.support.warm_python import WarmPython, warm_python

# What waits for processes and timeouts comes first: at the end of a run it would keep one worker
# busy while the others have nothing to do.
LONG = re.compile(
    r"tests/(testing/test_(plugin|servers)|example_app/test_(served|cache)|test_benchmarks|faults/"
    r"|extras/redis/test_chaos)"
)

# A machine that is busy proves nothing about the code.
hypothesis.settings.register_profile(
    "unhurried", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("unhurried")

PROJECTS = Path(__file__).parent / "adoption"
NAMED = [PROJECTS, Path(__file__).parent / "cluster"]
"""What runs when it is named only: the cluster takes long to start, the projects have more packages."""


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Spare the garbage collector the thousands of tests, and the modules, which stay to the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Select and order the tests, and refuse a marker whose promise docs/promises.md does not have."""
    keep_collected(items)
    check_markers(items)
    select_drivers(items, config)
    items.sort(key=lambda item: LONG.match(item.nodeid) is None)


def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> None:
    """See to it that a test which swallows its timeout ends as well; pytest-timeout goes on."""
    hanging.watch(item, settings.timeout)


def pytest_timeout_cancel_timer(item: pytest.Item) -> None:
    """The test has ended; pytest-timeout goes on."""
    hanging.forget(item)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options by which tests run on other databases and drivers."""
    parser.addoption(
        "--pooled", action="store_true", help="run on PostgreSQL behind PgBouncer instead"
    )
    parser.addoption(
        "--databases",
        metavar="NAME,NAME",
        help="run on these instead: mariadb-aiomysql, for example",
    )
    parser.addoption(
        "--drivers",
        choices=["usual", "other", "all"],
        default="usual",
        help="run on the driver of each database that its plain URL means, on the others, or on all",
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out what has to be named, and the own tests of the projects."""
    if collection_path.parent == PROJECTS and collection_path.is_dir():
        return True
    if collection_path in NAMED and not _is_named(collection_path, config.args):
        return True
    return None


def _is_named(folder: Path, arguments: list[str]) -> bool:
    paths = [Path(argument.partition("::")[0]).absolute() for argument in arguments]
    return any(path == folder or folder in path.parents for path in paths)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what uses ``database_url`` on each database that its marker ``databases`` names."""
    if "database_url" in metafunc.fixturenames:
        metafunc.parametrize("database_url", _databases(metafunc), indirect=True)


def _databases(metafunc: pytest.Metafunc) -> Sequence[str]:
    """Return those of the marker, or all; with ``--databases`` those of these kinds that it names."""
    marker = metafunc.definition.get_closest_marker("databases")
    usual = POOLED if metafunc.config.getoption("--pooled") else DATABASES
    names: Sequence[str] = marker.args if marker is not None else usual
    instead = metafunc.config.getoption("--databases")
    if not instead:
        return names
    kinds = {name.partition("-")[0] for name in names}
    return [name for name in instead.split(",") if name.partition("-")[0] in kinds]


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
    """Keep the developer's own DATABASE_* and REDIS_* variables out of the tests."""
    for name in list(os.environ):
        if name.startswith(("DATABASE_", "REDIS_")):
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


@pytest.fixture(scope="session")
def mysql_server_url(pytestconfig: pytest.Config) -> Iterator[str]:
    """A database of a MariaDB server, or of the MySQL that TEST_MYSQL_URL names, as root."""
    given = given_server("TEST_MYSQL_URL")
    if given is None and not has_mariadb():
        pytest.skip("MariaDB is not installed: apt-get install mariadb-server")
    with ExitStack() as stack:
        offer = getattr(pytestconfig, "workerinput", {}).get("asyncdb_server")
        yield given or (
            ask(offer, "mariadb") if offer else stack.enter_context(running_server("mariadb"))
        )


@pytest.fixture(scope="session")
def mysql_worker_database(mysql_server_url: str) -> Iterator[str]:
    """A database of this worker's own; the URL to it."""
    with mysql_database(mysql_server_url, unique_name()) as url:
        yield url


@pytest.fixture(scope="session")
def kept_mysql_tables(mysql_worker_database: str) -> Iterator[KeptMySQLTables]:
    """What the tests of this worker find in its database."""
    with closing(KeptMySQLTables(mysql_worker_database)) as kept:
        yield kept


@pytest.fixture
def mysql_url(kept_mysql_tables: KeptMySQLTables, request: pytest.FixtureRequest) -> str:
    """A MariaDB database: empty, or with the empty tables of the fixture ``tables`` if it is used."""
    wanted = "tables" in request.fixturenames
    kept_mysql_tables.reset(request.getfixturevalue("tables") if wanted else None)
    return kept_mysql_tables.url


@pytest.fixture(scope="session")
def sqlite_file(tmp_path_factory: pytest.TempPathFactory) -> Callable[[MetaData], Path]:
    """Returns a file with empty tables, which it creates once."""

    @cache
    def create(tables: MetaData) -> Path:
        path = tmp_path_factory.mktemp("tables") / "empty.db"
        engine = create_engine(f"sqlite:///{path}")
        tables.create_all(engine)
        engine.dispose()
        return path

    return create


@pytest.fixture
def missing_tables(
    database_url: str, tables: MetaData, sqlite_file: Callable[[MetaData], Path]
) -> MetaData | None:
    """The tables that the database does not have yet, for the start to create."""
    if database_url == "sqlite://":
        return tables
    if database_url.startswith("sqlite"):
        shutil.copyfile(sqlite_file(tables), database_url.removeprefix("sqlite:///"))
    return None


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
    """An empty database of each kind that the run has, or that the marker ``databases`` names."""
    kind, _, detail = request.param.partition("-")
    if kind == "postgresql":
        driver, _, way = detail.partition("-")
        url = request.getfixturevalue("pooled_url" if way == "pooled" else "postgres_url")
        return with_driver(url, driver, scheme="wiredb" if way == "derived" else None)
    if kind == "mariadb":
        return with_driver(request.getfixturevalue("mysql_url"), detail)
    return "sqlite://" if detail == "memory" else str(request.getfixturevalue("sqlite_url"))


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A started handle on an empty database."""
    async with Database(DatabaseSettings(url=database_url)) as database:
        yield database


@pytest.fixture(scope="session")
def python() -> Iterator[WarmPython]:
    """Runs programs in processes of their own, which have imported the packages already."""
    with warm_python() as python:
        yield python


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A Redis of this worker's, or the one that TEST_REDIS_URL names; no test stops it."""
    given = os.environ.get("TEST_REDIS_URL")
    if given:
        yield given
        return
    with private_redis() as server:
        yield server.url()


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """A Redis of the test's own, to be stopped and killed."""
    with private_redis() as server:
        yield server


@contextmanager
def private_redis() -> Iterator[RedisServer]:
    """Run a Redis, or skip the test where the program is missing."""
    if shutil.which("redis-server") is None:
        pytest.skip("Redis is not installed: apt-get install redis-server")
    with redis_server() as server:
        yield server


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
async def proxy(request: pytest.FixtureRequest) -> AsyncIterator[Proxy]:
    """A network in front of the test's server that can be cut, or fall silent."""
    name = "database_url" if "database_url" in request.fixturenames else "postgres_url"
    async with tcp_proxy(urlsplit(request.getfixturevalue(name)).port or 5432) as proxy:
        yield proxy
