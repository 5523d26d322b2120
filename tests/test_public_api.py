"""What users may import, and what an import may do."""

import ast
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import fastapi_asyncdb
from fastapi_asyncdb import doctor, errors, testing
from fastapi_asyncdb.dialects.base import Preset
from fastapi_asyncdb.extras import mongo
from fastapi_asyncdb.extras import redis as extras_redis

ROOT = Path(__file__).parent.parent
API = (ROOT / "docs" / "api.md").read_text()
# The public modules, and the names of each: a set if it has other names too.
PUBLIC: dict[str, set[str] | None] = {
    "fastapi_asyncdb": None,
    "fastapi_asyncdb.errors": None,
    "fastapi_asyncdb.settings": {"DatabaseSettings", "Environment"},
    "fastapi_asyncdb.models": {"Base", "UTCDateTime", "utcnow", "uuid7"},
    "fastapi_asyncdb.migrations": None,
    "fastapi_asyncdb.migrations.lint": {"Finding", "lint", "main_branch_of"},
    "fastapi_asyncdb.pool.status": {"LongestCheckout", "PoolStatus", "ReplicaStatus"},
    "fastapi_asyncdb.dialects": {
        "AdvisoryLocks",
        "Backend",
        "Diagnosis",
        "ErrorStep",
        "Estimate",
        "LogPositions",
        "MARIADB",
        "MYSQL",
        "MigrationLock",
        "MigrationSupport",
        "MySQL",
        "POSTGRESQL",
        "PostgreSQL",
        "Preset",
        "Rejection",
        "Target",
        "TransactionNumbers",
        "TransactionOptions",
        "parse_url",
        "register_dialect",
    },
    "fastapi_asyncdb.doctor": None,
    "fastapi_asyncdb.extras.mongo": None,
    "fastapi_asyncdb.extras.redis": None,
    "fastapi_asyncdb.testing": None,
    "fastapi_asyncdb.testing.migrations": None,
}


WITH_ALL = {
    f"fastapi_asyncdb{each}"
    for each in ("", ".doctor", ".extras.mongo", ".extras.redis", ".testing")
}
"""Those of which docs/api.md has each name."""


def test_front_door():
    """Public names change only on purpose, and with a line in the changelog."""
    assert sorted(fastapi_asyncdb.__all__) == [
        "Answer",
        "AnyOf",
        "Base",
        "Credentials",
        "CursorPage",
        "CursorQuery",
        "DB",
        "Database",
        "DatabaseSettings",
        "Filter",
        "FilterSet",
        "OrderBy",
        "Page",
        "PageQuery",
        "Problem",
        "ReadDB",
        "ReadRepository",
        "Related",
        "Repository",
        "RetryRoute",
        "Search",
        "SnapshotDB",
        "SoftDeleteMixin",
        "TimestampMixin",
        "UUIDMixin",
        "UnitOfWork",
        "VersionMixin",
        "advisory_lock",
        "answer",
        "create_lifespan",
        "db_lifespan",
        "default_database",
        "get_db",
        "get_read_db",
        "get_snapshot_db",
        "health_router",
        "install_error_handlers",
        "install_read_your_writes",
        "on_commit",
        "on_rollback",
        "paginate",
        "paginate_cursor",
        "problem_of",
        "register_dialect",
        "remember_transaction_id",
        "rows",
        "try_advisory_lock",
    ]
    assert all(hasattr(fastapi_asyncdb, name) for name in fastapi_asyncdb.__all__)


def test_front_door_is_lazy():
    """FastAPI and SQLAlchemy are imported with the first use of a public name, not with the package."""
    script = """
import sys
import fastapi_asyncdb
from fastapi_asyncdb import finishing
assert fastapi_asyncdb.__version__ and fastapi_asyncdb.finishing is finishing
print([name for name in ("fastapi", "sqlalchemy", "alembic") if name in sys.modules])
assert fastapi_asyncdb.errors is sys.modules["fastapi_asyncdb.errors"]
print([name for name in ("fastapi", "sqlalchemy", "alembic") if name in sys.modules])
from fastapi_asyncdb import *
print([name for name in ("fastapi", "sqlalchemy", "alembic") if name in sys.modules], DB is not None)
"""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert run.stdout.splitlines() == ["[]", "['sqlalchemy']", "['fastapi', 'sqlalchemy'] True"]


def test_front_door_shows_its_names():
    """Completion has the public names, before and after their first use; others are missing as usual."""
    names = set(dir(fastapi_asyncdb))
    assert names >= {*fastapi_asyncdb.__all__, "__version__"}
    with pytest.raises(AttributeError, match="has no attribute 'DBB'"):
        _ = fastapi_asyncdb.DBB  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(ImportError, match="cannot import name 'DBB'"):
        from fastapi_asyncdb import DBB  # type: ignore[attr-defined]  # noqa: F401  # pyright: ignore[reportAttributeAccessIssue]


def test_front_door_of_the_testing_kit():
    """The same for the names that tests import."""
    assert sorted(testing.__all__) == [
        "AsyncClientOptions",
        "CapturedHook",
        "DatabaseTemplate",
        "MariaDBServer",
        "PostgresReplica",
        "PostgresServer",
        "QueryCount",
        "RedisServer",
        "Statement",
        "SyncDatabase",
        "assert_queries",
        "async_client",
        "capture_commit_hooks",
        "count_queries",
        "given_server",
        "isolated_database",
        "mariadb_server",
        "override_db",
        "postgres_server",
        "redis_server",
        "sandbox",
        "sync_sandbox",
        "temporary_database",
    ]
    assert all(hasattr(testing, name) for name in testing.__all__)


def test_front_door_of_the_cache():
    """The same for the names of the extra ``redis``."""
    assert sorted(extras_redis.__all__) == [
        "Cache",
        "RedisCache",
        "RedisSettings",
        "cache_health_router",
        "cache_key",
        "cache_lifespan",
        "cached",
        "cached_route",
        "create_cache_lifespan",
        "default_cache",
        "get_cache",
        "invalidate_on_commit",
    ]


def test_front_door_of_the_doctor():
    """The same for the names that jobs and checks of an application import."""
    assert sorted(doctor.__all__) == [
        "Finding",
        "Look",
        "Report",
        "Status",
        "Thresholds",
        "examine",
    ]
    assert all(hasattr(doctor, name) for name in doctor.__all__)


def test_front_door_of_mongodb():
    """The same for the names of MongoDB."""
    assert sorted(mongo.__all__) == [
        "Document",
        "DocumentId",
        "Mongo",
        "MongoDatabase",
        "MongoReadRepository",
        "MongoRepository",
        "MongoSession",
        "MongoSettings",
        "MongoTransaction",
        "create_mongo_lifespan",
        "default_mongo",
        "ensure_indexes",
        "get_mongo",
        "get_mongo_transaction",
        "mongo_lifespan",
        "mongo_override",
    ]
    assert all(hasattr(mongo, name) for name in mongo.__all__)


def test_public_modules_are_documented():
    """docs/api.md names the public modules, and all others are private."""
    assert re.findall(r"^\| `(fastapi_asyncdb[\w.]*)` \|", API, re.MULTILINE) == list(PUBLIC)
    modules = {
        module.name
        for module in pkgutil.walk_packages(fastapi_asyncdb.__path__, "fastapi_asyncdb.")
    }
    assert modules | {"fastapi_asyncdb"} >= PUBLIC.keys()
    assert "Everything else in\nthe package is private" in API


@pytest.mark.parametrize(("module", "names"), PUBLIC.items())
def test_documented_names_exist(module: str, names: set[str] | None):
    """Each public name can be imported from the module that the page names."""
    assert all(hasattr(import_module(module), name) for name in names or ())
    documented = set(re.findall(r"`(\w+)`", API))
    if module in WITH_ALL:
        assert set(import_module(module).__all__) <= documented


def examples() -> Iterator[str]:
    """Return the code that users copy: the example application's, and the documentation's."""
    skill = (ROOT / "fastapi_asyncdb" / ".agents").rglob("*.md")
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *skill]:
        yield from re.findall(
            r"^```py(?:thon)?\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE
        )
    for path in (ROOT / "example_app").rglob("*.py"):
        yield path.read_text()


def test_examples_import_public_names_only():
    """What users copy does not break when a private module moves."""
    imported = {
        (node.module, alias.name)
        for code in examples()
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fastapi_asyncdb")
        for alias in node.names
    }
    assert ("fastapi_asyncdb", "DB") in imported
    assert [pair for pair in imported if pair[0] not in PUBLIC] == []
    for module, name in imported:
        names = PUBLIC[str(module)]
        assert names is None or name in names, f"{module}.{name}"


def test_architecture_names_every_package_and_every_duty_of_a_preset():
    """The map on docs/architecture.md has each package, and each member of the Preset protocol."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    packages = {path.parent.name for path in (ROOT / "fastapi_asyncdb").glob("*/__init__.py")}
    assert packages == set(re.findall(r"^\| `(\w+)/` \|", page, re.MULTILINE))
    duties = {name for name in vars(Preset) if not name.startswith("_")}
    assert duties <= set(re.findall(r"`(\w+)`", page))


def test_every_error_is_drawn_in_the_tree():
    """The docstring of errors.py shows each class under its base."""
    classes = [
        value
        for value in vars(errors).values()
        if isinstance(value, type)
        and issubclass(value, errors.AsyncDBError)
        and not value.__name__.startswith("_")
    ]
    drawn = re.findall(r"[│├└─ ]*(\w+)(?: \([\w., ]+\))?\n", errors.__doc__ or "")
    assert {cls.__name__ for cls in classes} <= set(drawn)
    assert all(cls.__doc__ for cls in classes)


def test_import_reads_and_opens_nothing(tmp_path: Path):
    """No environment, no .env, no socket, no database, no driver, no event loop at import."""
    (tmp_path / ".env").write_text("DATABASE_URL=nonsense\nDATABASE_POOL_SIZE=many\n")
    script = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
import fastapi, sqlalchemy.ext.asyncio, pydantic_settings
seen = []
def watch(event, arguments):
    name = str(arguments[0]) if arguments else ""
    if event in ("socket.connect", "sqlite3.connect", "subprocess.Popen"):
        seen.append((event, name))
    if event == "open" and not name.endswith((".py", ".pyc")) and not os.path.isdir(name):
        seen.append((event, name))
sys.addaudithook(watch)
import fastapi_asyncdb
fastapi_asyncdb.Database()
drivers = ["asyncpg", "psycopg", "asyncmy", "aiomysql", "redis", "pymongo"]
drivers += ["alembic", "pytest", "httpx", "typer", "rich"]
print(seen, [name for name in drivers if name in sys.modules])
"""
    result = subprocess.run(
        [sys.executable, "-I", "-B", "-c", script],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"DATABASE_URL": "nonsense"},
        check=False,
    )
    assert (result.stdout.strip(), result.stderr) == ("[] []", "")


def test_import_does_not_need_the_example_or_the_tests():
    """The package imports from an empty folder with an isolated interpreter."""
    script = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from fastapi_asyncdb import *"
    subprocess.run([sys.executable, "-I", "-W", "error", "-c", script], check=True, cwd="/")
