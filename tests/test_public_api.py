"""What users may import, and what an import may do."""

import re
import subprocess
import sys
from pathlib import Path

import fastapi_asyncdb
from fastapi_asyncdb import errors, testing

ROOT = Path(__file__).parent.parent


def test_front_door():
    """Public names change only on purpose, and with a line in the changelog."""
    assert sorted(fastapi_asyncdb.__all__) == [
        "Base",
        "DB",
        "Database",
        "DatabaseSettings",
        "ReadDB",
        "RetryRoute",
        "SnapshotDB",
        "create_lifespan",
        "db_lifespan",
        "default_database",
        "get_db",
        "get_read_db",
        "get_snapshot_db",
        "on_commit",
        "on_rollback",
        "remember_transaction_id",
    ]
    assert all(hasattr(fastapi_asyncdb, name) for name in fastapi_asyncdb.__all__)


def test_front_door_of_the_testing_kit():
    """The same for the names that tests import."""
    assert sorted(testing.__all__) == [
        "CapturedHook",
        "DatabaseTemplate",
        "PostgresReplica",
        "PostgresServer",
        "QueryCount",
        "Statement",
        "assert_queries",
        "async_client",
        "capture_commit_hooks",
        "count_queries",
        "given_server",
        "isolated_database",
        "override_db",
        "postgres_server",
        "sandbox",
    ]
    assert all(hasattr(testing, name) for name in testing.__all__)


def test_every_error_is_drawn_in_the_tree():
    """The docstring of errors.py shows each class under its base."""
    classes = [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, errors.AsyncDBError)
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
drivers = ["asyncpg", "psycopg", "aiomysql", "alembic", "pytest", "httpx", "typer", "rich"]
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
    script = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import fastapi_asyncdb"
    subprocess.run([sys.executable, "-I", "-W", "error", "-c", script], check=True, cwd="/")
