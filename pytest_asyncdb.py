"""The pytest plugin: fixtures on the project's own database, where each test is rolled back.

Every pytest run of an environment that has the package imports this file. So it imports pytest and the
standard library only; the fixtures import the rest.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import pytest

if TYPE_CHECKING:
    from fastapi.testclient import TestClient
    from httpx import AsyncClient
    from pydantic import SecretStr
    from sqlalchemy.ext.asyncio import AsyncSession

    from fastapi_asyncdb.database import Database
    from fastapi_asyncdb.engine.runs import Runs
    from fastapi_asyncdb.settings import DatabaseSettings
    from fastapi_asyncdb.testing.client import AsyncClientOptions
    from fastapi_asyncdb.testing.databases.worker import WorkerCopies, WorkerDatabase
    from fastapi_asyncdb.testing.migrations import Migrations
    from fastapi_asyncdb.testing.project import Project
    from fastapi_asyncdb.testing.queries.statements import QueryCount
    from fastapi_asyncdb.testing.servers.address import ServerAddress
    from fastapi_asyncdb.testing.starts import Fixture, Starts
    from fastapi_asyncdb.testing.sync import SyncDatabase

_LINES = {
    "asyncdb_app": (
        "",
        "the application for asyncdb_client, module:attribute; a factory ends with ()",
    ),
    "asyncdb_database": (
        "fastapi_asyncdb:default_database",
        "the Database that the application uses, module:attribute",
    ),
    "asyncdb_backend": (
        "sqlite",
        "sqlite (a temporary file), postgresql or mariadb (a private server), or the URL of a database "
        "for tests on a server; TEST_DATABASE_URL in the environment wins",
    ),
    "asyncdb_metadata": (
        "",
        "the tables to create, module:attribute; by default those of the Database, or of the migrations",
    ),
    "asyncdb_alembic": ("", "an alembic.ini, whose migrations make the tables instead"),
    "asyncdb_seed": (
        "",
        "an async function that takes a session, module:attribute: it adds the rows that all tests see",
    ),
    "asyncdb_migrations_since": (
        "",
        "a revision, or a branch or commit of git: later migrations have to be safe; by default the "
        "main branch",
    ),
}
_ALLOWED = "asyncdb_allow_urls"
_ISOLATED = "asyncdb_isolated"
_OFFERS = "asyncdb_server"
_SERVERS = ("postgresql", "mariadb")


_offer = pytest.StashKey[Any]()
# The errors of this file, which the user can correct: they are shown without a traceback.
_own_errors: WeakSet[pytest.UsageError] = WeakSet()


def _usage_error(message: str) -> pytest.UsageError:
    error = pytest.UsageError(message)
    _own_errors.add(error)
    return error


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show an error of this file without the traceback through pytest."""
    report = yield
    error = call.excinfo.value if call.excinfo is not None else None
    if isinstance(error, pytest.UsageError) and error in _own_errors:
        report.longrepr = str(error)
    return report


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the lines of the configuration."""
    for name, (default, text) in _LINES.items():
        parser.addini(name, text, default=default)
    parser.addini(
        _ALLOWED,
        "URLs, without driver, user and password, or patterns for them, on which tests may start a "
        "Database although nothing says that they are for tests",
        type="linelist",
    )


# --- No test starts a Database on one that is not for tests ---------------------------------------

# The runs of pytest in this process, innermost last: a test may run pytest.
_configs: list[pytest.Config] = []
_starts = pytest.StashKey[Any]()
# The fixtures that are being set up, innermost last, with the functions that were declared.
_setting_up: list[tuple[pytest.FixtureDef[Any], Callable[..., object]]] = []


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker, and check starts of each ``Database`` from here on."""
    config.addinivalue_line(
        "markers", f"{_ISOLATED}: the test gets a copy of the database for itself, and no sandbox"
    )
    _configs.append(config)
    # A package that is imported later finds this module by itself.
    runs = sys.modules.get("fastapi_asyncdb.engine.runs")
    if runs is not None and check_start not in runs.start_checks:
        runs.start_checks.append(check_start)


def check_start(runs: Runs, settings: DatabaseSettings | None) -> None:
    """Refuse a start on a database that is not for tests; the package calls it before each start.

    Raises:
        ConfigurationError: nothing says that the database is for tests.
    """
    if _configs:
        _starts_of(_configs[-1]).check(runs, settings, _fixture())


def _starts_of(config: pytest.Config) -> Starts:
    if _starts not in config.stash:
        from fastapi_asyncdb.testing.starts import Starts

        temporary = config.getoption("basetemp", None)
        file = config.inipath.name if config.inipath else "pytest.ini"
        config.stash[_starts] = Starts(config.getini(_ALLOWED), temporary, config.rootpath, file)
    starts: Starts = config.stash[_starts]
    return starts


def _fixture() -> Fixture | None:
    from fastapi_asyncdb.testing.starts import Fixture

    if not _setting_up:
        return None
    declared, function = _setting_up[-1]
    return Fixture(declared.argname, function, declared.scope)


# --- One server for all workers -------------------------------------------------------------------


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give each xdist worker the address of this process, which starts the server."""
    if not _may_need_server(node.config):
        return
    if _offer not in node.config.stash:
        from fastapi_asyncdb.testing.servers.shared import ServerOffer

        node.config.stash[_offer] = ServerOffer()
    node.workerinput[_OFFERS] = node.config.stash[_offer].address


def _may_need_server(config: pytest.Config) -> bool:
    return config.getini("asyncdb_backend") in _SERVERS


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the server, if a worker has requested it, and check no further starts."""
    if config in _configs:
        _configs.remove(config)
    if _offer in config.stash:
        config.stash[_offer].close()


@pytest.fixture(scope="session")
def asyncdb_server(pytestconfig: pytest.Config) -> Iterator[ServerAddress]:
    """A server, one for the whole run; started when the first test needs it."""
    from fastapi_asyncdb.testing.servers.address import ServerAddress
    from fastapi_asyncdb.testing.servers.given import given_server
    from fastapi_asyncdb.testing.servers.shared import ask, running_server

    with ExitStack() as stack:
        kind = "mariadb" if pytestconfig.getini("asyncdb_backend") == "mariadb" else "postgresql"
        offer = getattr(pytestconfig, "workerinput", {}).get(_OFFERS)
        with _usage_errors():
            address = ServerAddress(
                given_server()
                or (ask(offer, kind) if offer else stack.enter_context(running_server(kind)))
            )
        yield address


# --- The fixtures that run on the test's event loop -----------------------------------------------

# The keys are ids of the declared functions; other projects' fixtures may not be hashable.
_asynchronous: dict[int, Callable[..., AsyncIterator[Any]]] = {}


def _async_fixture(function: Callable[..., AsyncIterator[Any]]) -> Any:
    """Declare a fixture that the plugin that runs the test runs as well.

    The declared function is an ordinary one: pytest-asyncio's strict mode warns of an asynchronous one
    that is not its own.
    """

    def declared(**arguments: Any) -> None:
        raise AssertionError("pytest_fixture_setup puts the asynchronous function in its place")

    declared.__name__ = function.__name__
    declared.__doc__ = function.__doc__
    # __wrapped__ would lead pytest back to the asynchronous function.
    declared.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    _asynchronous[id(declared)] = function
    return pytest.fixture(declared)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, Any, Any]:
    """Pass the asynchronous function to the plugin that runs the test, which is called after this."""
    function = _asynchronous.get(id(fixturedef.func))
    _setting_up.append((fixturedef, fixturedef.func))
    try:
        if function is None:
            return (yield)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fixturedef, "func", _or_refusal(function, request))
            return (yield)
    finally:
        _setting_up.pop()


def _or_refusal(
    function: Callable[..., AsyncIterator[Any]], request: pytest.FixtureRequest
) -> Callable[..., object]:
    """Return the fixture to run; for an error one that raises it, since pytest needs a fixture."""
    try:
        return _for_runner(function, request)
    except pytest.UsageError as error:
        refusal = error

    def refuse(**arguments: Any) -> None:
        __tracebackhide__ = True
        raise refusal.with_traceback(None)

    return refuse


def _for_runner(
    function: Callable[..., AsyncIterator[Any]], request: pytest.FixtureRequest
) -> Callable[..., object]:
    """Return the function in the form that the runner of this test needs.

    Raises:
        pytest.UsageError: no event loop of asyncio runs the test.
    """
    marker = request.node.get_closest_marker("asyncio")
    plugins = request.config.pluginmanager
    if marker is not None and plugins.hasplugin("asyncio"):
        scope = marker.kwargs.get("loop_scope") or marker.kwargs.get("scope")
        default = request.config.getini("asyncio_default_test_loop_scope")
        return _on_loop_of_scope(scope or default, function)
    if plugins.hasplugin("anyio") and "anyio_backend" in request.fixturenames:
        _refuse_trio(request)
        return function
    _refuse_plain_test(request)
    return function


def _on_loop_of_scope(
    scope: Any, function: Callable[..., AsyncIterator[Any]]
) -> Callable[..., Iterator[Any]]:
    """Return a fixture function for which pytest-asyncio makes the test's loop the current one.

    Not an asynchronous one: a test of pytest-asyncio's auto mode that has AnyIO's mark too is run by
    pytest-asyncio, and AnyIO would run its asynchronous fixtures.
    """
    import asyncio

    import pytest_asyncio

    def on_loop(**arguments: Any) -> Iterator[Any]:
        loop = asyncio.get_event_loop()
        values = function(**arguments)
        yield loop.run_until_complete(_step(values))
        loop.run_until_complete(_step(values))

    # Its types leave out functions that are not asynchronous; it supports them nevertheless.
    decorate: Any = pytest_asyncio.fixture(loop_scope=scope)
    decorate(on_loop)
    return on_loop


async def _step(values: AsyncIterator[Any]) -> Any:
    return await anext(values, None)


def _refuse_trio(request: pytest.FixtureRequest) -> None:
    backend = request.getfixturevalue("anyio_backend")
    name = backend if isinstance(backend, str) else backend[0]
    if name != "asyncio":
        raise _usage_error(
            f"{request.node.name} uses {_used(request)} and runs on {name}; SQLAlchemy's async "
            "engines run on asyncio only. AnyIO runs a test on each backend that is installed: define "
            'a fixture anyio_backend that returns "asyncio".'
        )


def _refuse_plain_test(request: pytest.FixtureRequest) -> None:
    function = getattr(request.node, "function", None)
    step = (
        "Mark it with @pytest.mark.anyio, or with @pytest.mark.asyncio for pytest-asyncio"
        if inspect.iscoroutinefunction(function)
        else "Make it 'async def', and mark it with @pytest.mark.anyio; or leave it as it is, and use "
        "asyncdb_test_client, a TestClient, and asyncdb_sync_sandbox"
    )
    raise _usage_error(
        f"{request.node.name} uses {_used(request)}, and no event loop runs it: neither AnyIO "
        f"nor pytest-asyncio runs this test. {step}."
    )


def _used(request: pytest.FixtureRequest) -> str:
    """Return the first of these fixtures that the test uses, directly or through other fixtures."""
    names = {function.__name__ for function in _asynchronous.values()}
    return next(name for name in request.fixturenames if name in names)


@contextmanager
def _usage_errors() -> Iterator[None]:
    """Report errors of the configuration as pytest's own usage errors."""
    from fastapi_asyncdb.errors import ConfigurationError

    try:
        yield
    except ConfigurationError as error:
        raise _usage_error(str(error)) from None


@pytest.fixture(scope="session")
def _asyncdb_project(pytestconfig: pytest.Config) -> Project:
    """The project that the configuration of pytest names."""
    from fastapi_asyncdb.testing.project import Project

    lines = {name.removeprefix("asyncdb_"): str(pytestconfig.getini(name)) for name in _LINES}
    return Project(**lines, file=pytestconfig.inipath or pytestconfig.rootpath / "pytest.ini")


@pytest.fixture(scope="session")
def _asyncdb_server_url(
    _asyncdb_project: Project, request: pytest.FixtureRequest
) -> SecretStr | None:
    """The server for new databases; ``None`` for files. Secret, since reports show fixture values."""
    from pydantic import SecretStr

    from fastapi_asyncdb.testing.servers.given import given_server

    with _usage_errors():
        if _asyncdb_project.wants_server or given_server():
            server: ServerAddress = request.getfixturevalue("asyncdb_server")
            return SecretStr(server.url())
        return _asyncdb_project.server_url


@pytest.fixture(scope="session")
def _asyncdb_worker(
    _asyncdb_project: Project,
    _asyncdb_server_url: SecretStr | None,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[WorkerDatabase]:
    """This worker's database, with its tables; not bound to an event loop."""
    from fastapi_asyncdb.testing.databases.worker import worker_database

    folder = tmp_path_factory.mktemp("asyncdb")
    with ExitStack() as stack:
        with _usage_errors():
            made = stack.enter_context(
                worker_database(_asyncdb_project, _asyncdb_server_url, folder)
            )
        yield made


@pytest.fixture(scope="session")
def _asyncdb_copies(
    _asyncdb_project: Project, _asyncdb_server_url: SecretStr | None
) -> Iterator[WorkerCopies]:
    """Copies of a database like this worker's, for tests with the marker."""
    from fastapi_asyncdb.testing.databases.worker import worker_copies

    with ExitStack() as stack:
        with _usage_errors():
            made = stack.enter_context(worker_copies(_asyncdb_project, _asyncdb_server_url))
        yield made


@pytest.fixture
def _asyncdb_place(
    _asyncdb_project: Project, request: pytest.FixtureRequest
) -> Iterator[WorkerDatabase]:
    """This worker's database, or the test's own copy; the Database starts on it in any case."""
    with _usage_errors():
        _starts_of(request.config).refuse_early(_asyncdb_project.load_database())
    with ExitStack() as stack:
        if _is_isolated(request):
            copies: WorkerCopies = request.getfixturevalue("_asyncdb_copies")
            place = stack.enter_context(copies.copy())
        else:
            place = request.getfixturevalue("_asyncdb_worker")
        with _usage_errors():
            stack.enter_context(place.configured())
        yield place


def _is_isolated(request: pytest.FixtureRequest) -> bool:
    return request.node.get_closest_marker(_ISOLATED) is not None


@_async_fixture
async def asyncdb_database(_asyncdb_place: WorkerDatabase) -> AsyncIterator[Database[Any]]:
    """The application's Database, started on this worker's database. Commits are not rolled back."""
    async with _asyncdb_place.database as database:
        yield database


@_async_fixture
async def asyncdb_session(
    asyncdb_database: Database[Any], request: pytest.FixtureRequest
) -> AsyncIterator[AsyncSession]:
    """A session in a sandbox: the work of the test and the application is rolled back after the test."""
    from fastapi_asyncdb.testing.sandbox import sandbox

    isolated = _is_isolated(request)
    async with asyncdb_database.session() if isolated else sandbox(asyncdb_database) as session:
        yield session


@pytest.fixture
def asyncdb_client_options() -> AsyncClientOptions:
    """The options of the clients: define a fixture of this name that returns base_url, headers, ..."""
    return {}


@_async_fixture
async def asyncdb_client(
    _asyncdb_project: Project,
    asyncdb_session: AsyncSession,
    asyncdb_client_options: AsyncClientOptions,
) -> AsyncIterator[AsyncClient]:
    """An HTTP client of the application, whose lifespan runs; in the sandbox of asyncdb_session."""
    from fastapi_asyncdb.testing.client import async_client

    with _usage_errors():
        app = _asyncdb_project.load_app()
    async with async_client(app, **asyncdb_client_options) as client:
        yield client


@pytest.fixture
def asyncdb_sync_sandbox(
    _asyncdb_place: WorkerDatabase, request: pytest.FixtureRequest
) -> Iterator[SyncDatabase[Any]]:
    """The Database for plain functions: in a sandbox on the event loop of a TestClient."""
    from fastapi_asyncdb.testing.sync import sync_database, sync_sandbox

    opened = sync_database if _is_isolated(request) else sync_sandbox
    with opened(_asyncdb_place.database) as sync:
        yield sync


@pytest.fixture
def asyncdb_test_client(
    _asyncdb_project: Project,
    asyncdb_sync_sandbox: SyncDatabase[Any],
    asyncdb_client_options: AsyncClientOptions,
) -> Iterator[TestClient]:
    """A TestClient of the application, whose lifespan runs; in the sandbox of asyncdb_sync_sandbox."""
    from fastapi_asyncdb.testing.client import test_client

    with _usage_errors():
        app = _asyncdb_project.load_app()
    with test_client(app, asyncdb_client_options) as client:
        yield client


@pytest.fixture
def asyncdb_queries(
    _asyncdb_place: WorkerDatabase, request: pytest.FixtureRequest
) -> Iterator[QueryCount]:
    """The statements that are sent from here on; those of the client's lifespan do not count."""
    from fastapi_asyncdb.testing.queries.count import count_queries

    for name in ("asyncdb_session", "asyncdb_client", "asyncdb_test_client"):
        if name in request.fixturenames:
            request.getfixturevalue(name)
    with count_queries(_asyncdb_place.database) as seen:
        yield seen


@pytest.fixture
def asyncdb_migrations(
    _asyncdb_project: Project, _asyncdb_server_url: SecretStr | None, tmp_path: Any
) -> Iterator[Migrations]:
    """The project's migrations on an empty database: for ``fastapi_asyncdb.testing.migrations``."""
    from fastapi_asyncdb.testing.databases.temporary import empty_database
    from fastapi_asyncdb.testing.migrations import Migrations

    with ExitStack() as stack:
        with _usage_errors():
            project = _asyncdb_project
            url = stack.enter_context(empty_database(_asyncdb_server_url, tmp_path))
            made = Migrations(
                project.load_alembic(),
                url,
                metadata=project.load_metadata(),
                database=project.load_database(),
                since=project.migrations_since or None,
            )
        yield made
