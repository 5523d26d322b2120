"""The commands on the database itself: ``ping``, ``shell``, ``seed``, ``reset``, ``postgres``."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import asyncpg
import pymysql
import pytest

from fastapi_asyncdb.testing.servers.folder import free_port
from fastapi_asyncdb.testing.servers.mariadb import has_mariadb
from tests.cli.conftest import ROOT, Command, Project
from tests.support.databases import ONE_DRIVER, execute
from tests.support.kept_mysql_tables import connect

SEED = """\
from shop.models import Product

async def seed(session):
    session.add(Product(name="Tea"))
    await session.flush()
"""


@pytest.fixture(autouse=True)
def configured(project: Project) -> None:
    """The project has tables, and a function that fills them."""
    project.configure('seed = "shop.seed:seed"\n')
    project.write("shop/seed.py", SEED)
    project.revise()


@pytest.fixture
def tables(asyncdb: Command, project: Project) -> None:
    """The database is at the newest revision."""
    assert asyncdb("upgrade").code == 0


def products(sqlite_url: str) -> list[str]:
    """Return the names of the products that are stored."""
    with sqlite3.connect(sqlite_url.removeprefix("sqlite:///")) as connection:
        return [name for (name,) in connection.execute("SELECT name FROM products")]


@pytest.mark.databases(*ONE_DRIVER)
def test_ping(asyncdb: Command, database_url: str, monkeypatch: pytest.MonkeyPatch):
    """Which database answers, without user and password."""
    monkeypatch.setenv("DATABASE_URL", database_url.replace("//postgres@", "//postgres:s3cret@"))
    ended = asyncdb("ping")
    assert ended.code == 0
    assert " answers in " in ended.words
    assert "s3cret" not in ended.words + asyncdb("ping", "--json").out


# --- seed -----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("tables")
def test_seed_runs_in_one_transaction(asyncdb: Command, project: Project, sqlite_url: str):
    """What it wrote is stored; nothing of a run that fails is."""
    assert asyncdb("seed").code == 0
    assert products(sqlite_url) == ["Tea"]


@pytest.mark.usefixtures("tables")
def test_seed_that_fails_stores_nothing(asyncdb: Command, project: Project, sqlite_url: str):
    """The error has the line of the user's file."""
    project.write("shop/seed.py", f"{SEED}    raise ValueError('no more tea')\n")
    ended = asyncdb("seed")
    assert ended.code == 1
    assert "ValueError: no more tea, in shop/seed.py:6." in ended.words
    assert products(sqlite_url) == []


def test_seed_that_is_no_function(asyncdb: Command, project: Project):
    """No line, and a name of another kind."""
    project.write("shop/seed.py", "seed = 1\n")
    ended = asyncdb("seed")
    assert (ended.code, "Name an async function" in ended.words) == (1, True)
    project.configure()
    assert 'seed = "shop.seed:seed"' in asyncdb("seed").words


@pytest.mark.usefixtures("tables")
def test_seed_asks_in_production(
    asyncdb: Command, project: Project, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
):
    """A shell that has the wrong variables set is easily there."""
    monkeypatch.setenv("DATABASE_ENVIRONMENT", "production")
    assert asyncdb("seed", stdin="n\n").code == 1
    assert products(sqlite_url) == []
    assert asyncdb("seed", "--yes").code == 0


# --- shell ----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("tables")
def test_shell_has_models_and_a_session(asyncdb: Command, project: Project, sqlite_url: str):
    """``await`` works; what is not committed is rolled back at the end."""
    add = "session.add(Product(name={!r})); await session.flush(); "
    assert asyncdb("shell", "-c", add.format("Tea")).code == 0
    assert products(sqlite_url) == []
    asyncdb("shell", "-c", add.format("Tea") + "await session.commit()")
    assert products(sqlite_url) == ["Tea"]
    code = "print((await session.scalars(select(Product.name))).all())"
    assert asyncdb("shell", "-c", code).out == "['Tea']\n"


@pytest.mark.usefixtures("tables")
def test_shell_is_an_interpreter(asyncdb: Command, project: Project):
    """Each line is answered, and an error ends nothing."""
    ended = asyncdb("shell", stdin="1 / 0\nawait session.scalar(text('SELECT 41')) + 1\nx = 2\nx\n")
    assert ended.code == 0
    for words in ("Product, database, select, session, text", "ZeroDivisionError", "42"):
        assert words in ended.words


def test_shell_command_that_fails(asyncdb: Command):
    """Its error is that of the command."""
    ended = asyncdb("shell", "-c", "1 / 0")
    assert (ended.code, "ZeroDivisionError" in ended.words) == (1, True)


# --- reset ----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("tables")
def test_reset_asks(asyncdb: Command, project: Project, sqlite_url: str):
    """It names the database; a no leaves everything."""
    asyncdb("seed")
    refused = asyncdb("reset", stdin="n\n")
    assert (refused.code, "Drop all tables of sqlite" in refused.words) == (1, True)
    assert products(sqlite_url) == ["Tea"]
    assert asyncdb("reset", stdin="y\n").code == 0
    assert products(sqlite_url) == []


async def test_reset_drops_what_depends_on_tables(
    project: Project, postgres_url: str, asyncdb_process: Command
):
    """Views of views, enumerations, tables in a cycle, and names that have to be quoted."""
    await execute(
        postgres_url,
        """
        CREATE TYPE "Mood 100%" AS ENUM ('good');
        CREATE TABLE "Odd:name" (id int PRIMARY KEY, mood "Mood 100%");
        CREATE VIEW first AS SELECT * FROM "Odd:name";
        CREATE VIEW a_second AS SELECT * FROM first;
        CREATE MATERIALIZED VIEW kept AS SELECT * FROM first;
        CREATE TABLE one (id int PRIMARY KEY, two int);
        CREATE TABLE two (id int PRIMARY KEY, one int REFERENCES one);
        ALTER TABLE one ADD CONSTRAINT cycle FOREIGN KEY (two) REFERENCES two;
        """,
    )
    assert asyncdb_process("reset", "--yes", DATABASE_URL=postgres_url).code == 0
    connection = await asyncpg.connect(postgres_url)
    try:
        names = await connection.fetch(
            "SELECT relname FROM pg_class "
            "WHERE relnamespace = 'public'::regnamespace AND relkind != 'i' UNION ALL "
            "SELECT typname FROM pg_type WHERE typtype = 'e'"
        )
    finally:
        await connection.close()
    assert {row["relname"] for row in names} == {"products", "products_id_seq", "alembic_version"}


def test_reset_refuses_an_env_that_connects_itself(
    asyncdb: Command, project: Project, sqlite_url: str
):
    """It might drop the tables of one database, and create them in another."""
    project.write("migrations/env.py", "from alembic import context\n")
    ended = asyncdb("reset", "--yes")
    assert (ended.code, "env.py connects by itself" in ended.words) == (1, True)


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("DATABASE_ENVIRONMENT", "staging", "DATABASE_ENVIRONMENT is staging"),
        ("DATABASE_URL", "postgresql://ada@db.example.com/shop", "on another machine"),
        ("DATABASE_MIGRATION_URL", "postgresql://ada@db.example.com/shop", "on another machine"),
    ],
)
def test_reset_refuses(
    asyncdb: Command, variable: str, value: str, reason: str, monkeypatch: pytest.MonkeyPatch
):
    """Outside of development, and on another machine, with --yes too."""
    monkeypatch.setenv(variable, value)
    ended = asyncdb("reset", "--yes")
    assert (ended.code, reason in ended.words) == (1, True)


# --- postgres and mariadb -------------------------------------------------------------------------


@contextmanager
def server(*arguments: str, command: str = "postgres") -> Iterator[str]:
    """Run the command until the block ends; the URL that it prints."""
    process = subprocess.Popen(
        [sys.executable, "-m", "fastapi_asyncdb.cli", command, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        scheme = "postgresql" if command == "postgres" else "mysql"
        assert line.startswith(f"DATABASE_URL={scheme}://"), process.communicate()
        yield line.removeprefix("DATABASE_URL=").strip()
    finally:
        process.send_signal(signal.SIGINT)
        _, words = process.communicate(timeout=30)
    assert (process.returncode, "has stopped" in words) == (0, True)


async def test_postgres_keeps_data_and_port(project: Project, tmp_path: Path):
    """The folder stays when it stops; the next one has the data and the port of the last time."""
    folder = str(tmp_path / "kept")
    with server("--keep", folder) as url:
        await execute(url, "CREATE TABLE kept (id int)")
    with server("--keep", folder) as again:
        await execute(again, "INSERT INTO kept VALUES (1)")
    assert again == url
    with pytest.raises(ConnectionRefusedError):
        await asyncpg.connect(url, timeout=5)


async def test_postgres_on_a_port(project: Project):
    """Without --keep nothing stays."""
    port = free_port()
    with server("--port", str(port)) as url:
        await execute(url, "SELECT 1")
    assert f":{port}/" in url


@pytest.mark.skipif(
    not has_mariadb(), reason="MariaDB is not installed: apt-get install mariadb-server"
)
def test_mariadb_keeps_data_and_port(project: Project, tmp_path: Path):
    """As PostgreSQL does, with another program."""
    folder = str(tmp_path / "kept")
    with (
        server("--keep", folder, command="mariadb") as url,
        closing(connect(url)) as connection,
    ):
        connection.cursor().execute("CREATE TABLE kept (id int)")
    with (
        server("--keep", folder, command="mariadb") as again,
        closing(connect(again)) as connection,
    ):
        connection.cursor().execute("INSERT INTO kept VALUES (1)")
    assert again == url
    with pytest.raises(pymysql.OperationalError):
        connect(url)
