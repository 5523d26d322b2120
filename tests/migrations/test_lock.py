"""One migrator among many processes: one migrates, the others wait, whatever happens to the first."""

import asyncio
import logging
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from sqlalchemy import text

from fastapi_asyncdb import Database
from fastapi_asyncdb.errors import ConfigurationError, MigrationError, MigrationFailed
from fastapi_asyncdb.migrations.engines import migration_engines, source_of
from fastapi_asyncdb.migrations.lock import only_migrator
from tests.support.databases import (
    DATABASES,
    DRIVERS,
    LONG,
    MARIADB,
    MYSQL_DRIVERS,
    POSTGRESQL,
    with_driver,
)
from tests.support.migration_project import MigrationProject, migration_project

PROCESSES = 8
ROOT = Path(__file__).parents[2]
# Marks that the revision is under way, then waits until it is killed or may go on.
SLOW = """
import os, pathlib, time
op.create_table('slow', sa.Column('id', sa.Integer, primary_key=True), if_not_exists=True)
folder = pathlib.Path({folder!r})
if not (folder / "started").exists():
    (folder / "started").write_text(str(os.getpid()))
    time.sleep(60)
"""
UPGRADE = """
import asyncio, os, sys
import sqlalchemy
from fastapi_asyncdb import create_lifespan, default_database
from fastapi_asyncdb.migrations import MigrationConfig, Migrator


async def upgrade():
    applied = await Migrator(MigrationConfig.load(file=sys.argv[1])).upgrade()
    print(*(each.revision for each in applied), flush=True)


async def serve():
    await upgrade()
    async with create_lifespan(migrate=sys.argv[1])(None), default_database.session() as session:
        await session.execute(sqlalchemy.text("SELECT * FROM last"))


def fork():
    child = os.fork()
    if child == 0:
        asyncio.run(serve())
        os._exit(0)
    return child


children = [fork() for _ in range(int(sys.argv[2]))]
if not children:
    asyncio.run(upgrade())
assert [os.waitpid(child, 0)[1] for child in children] == [0] * len(children)
"""


@pytest.fixture
def project(tmp_path: Path, database_url: str) -> MigrationProject:
    """A project with four revisions, each with a table."""
    project = migration_project(tmp_path, database_url)
    for name, after in (("one", None), ("two", "one"), ("three", "two"), ("last", "three")):
        project.table(name, after)
    return project


def upgrading(project: MigrationProject, processes: int = 0) -> subprocess.Popen[str]:
    """Start a process that upgrades, or so many of its children."""
    return subprocess.Popen(
        [sys.executable, "-c", UPGRADE, project.folder / "pyproject.toml", str(processes)],
        env={**os.environ, "DATABASE_URL": project.url, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> list[str]:
    """Wait for a process; return the revisions that it has applied."""
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out.split()


@pytest.mark.databases(*LONG, POSTGRESQL[1])
def test_many_processes_migrate_once(project: MigrationProject):
    """Of eight that start on an empty database one applies each revision, and none fails."""
    with upgrading(project, PROCESSES) as parent:
        assert sorted(finish(parent)) == ["last", "one", "three", "two"]


@pytest.mark.databases(*LONG)
def test_killed_migrator_leaves_no_lock(project: MigrationProject, tmp_path: Path):
    """SIGKILL in the middle of a revision: it is rolled back, and the next process applies it.

    On MySQL its table stays: it is created only if it is not there.
    """
    project.revision("slow", "last", SLOW.format(folder=str(tmp_path)), "op.drop_table('slow')")
    with ExitStack() as stack:
        first = stack.enter_context(upgrading(project))
        stack.callback(first.kill)
        while not (tmp_path / "started").exists():
            assert first.poll() is None, first.stderr
            time.sleep(0.02)
        others = stack.enter_context(upgrading(project, 2))
        first.send_signal(signal.SIGKILL)
        assert finish(others) == ["slow"]


async def test_second_migrator_waits(project: MigrationProject, caplog: pytest.LogCaptureFixture):
    """The log says whom it waits for; ``wait`` limits the time."""
    caplog.set_level(logging.INFO, "fastapi_asyncdb.migrations")
    source = source_of(Database(project.settings()))
    async with migration_engines(source) as (engines, settings), only_migrator(engines, settings):
        with pytest.raises(MigrationError, match="Another process has migrated this database"):
            await project.migrator().upgrade(wait=0.3)
        assert "Another process migrates the database (the " in caplog.text
        if project.url.startswith("mysql"):
            assert re.search(r"the session with id \d+ of user 'root' from ", caplog.text)
        waiting = asyncio.create_task(project.migrator().upgrade())
        await asyncio.sleep(0)
    assert [each.revision for each in await waiting] == ["one", "two", "three", "last"]


@pytest.fixture
def on_mysql(tmp_path: Path, mysql_url: str, mysql_driver: str) -> MigrationProject:
    """A project on MariaDB, with a table."""
    project = migration_project(tmp_path, with_driver(mysql_url, mysql_driver))
    project.table("one", None)
    return project


@pytest.mark.parametrize("mysql_driver", MYSQL_DRIVERS)
async def test_lost_lock_after_a_revision_that_cannot_be_rolled_back(
    on_mysql: MigrationProject, monkeypatch: pytest.MonkeyPatch
):
    """What is done is noted; no further revision begins."""
    monkeypatch.setattr("fastapi_asyncdb.migrations.lock._UNCHECKED", 0.0)
    kill = (
        "bind = op.get_bind()\n"
        "name = \"CONCAT('asyncdb migrations ', MD5(DATABASE()))\"\n"
        "holder = bind.exec_driver_sql(f'SELECT IS_USED_LOCK({name})').scalar()\n"
        "bind.exec_driver_sql(f'KILL {holder}')"
    )
    on_mysql.revision("two", "one", f"op.create_table('two', sa.Column('id', sa.Integer))\n{kill}")
    on_mysql.table("three", "two")
    with pytest.raises(MigrationError, match=r"lock .* is lost.*is done, and none after it"):
        await on_mysql.migrator().upgrade()
    assert await on_mysql.migrator().current() == ("two",)
    assert [each.revision for each in await on_mysql.migrator().upgrade()] == ["three"]


@pytest.mark.parametrize("mysql_driver", MYSQL_DRIVERS[:1])
async def test_lock_of_another_database_is_another_one(on_mysql: MigrationProject):
    """Names of locks belong to the server: each database has its own, however long its name is."""
    name = f"{uuid.uuid4().hex}" * 2
    source = source_of(Database(on_mysql.settings()))
    async with migration_engines(source) as (engines, settings), only_migrator(engines, settings):
        async with engines.write.begin() as connection:
            await connection.execute(text(f"CREATE DATABASE `{name}`"))
        try:
            folder, package = on_mysql.folder, on_mysql.package
            url = urlsplit(on_mysql.url)._replace(path=f"/{name}").geturl()
            assert await MigrationProject(folder, url, package).migrator().upgrade(wait=0.0)
        finally:
            async with engines.write.begin() as connection:
                await connection.execute(text(f"DROP DATABASE `{name}`"))


@pytest.mark.parametrize("mysql_driver", MYSQL_DRIVERS[:1])
async def test_lock_timeout_after_a_change_is_not_tried_again(on_mysql: MigrationProject):
    """The next attempt would find what the first one has done."""
    await on_mysql.migrator().upgrade()
    on_mysql.revision(
        "two", "one", "op.execute('CREATE TABLE two (id INTEGER)')\nop.drop_table('one')"
    )
    async with Database(on_mysql.settings()) as database, database.session() as session:
        await session.execute(text("SELECT * FROM one"))
        with pytest.raises(MigrationFailed, match=r"CREATE TABLE two.*MIGRATION_LOCK_TIMEOUT"):
            await on_mysql.migrator(migration_lock_timeout=1).upgrade()


@pytest.mark.parametrize("mysql_driver", MYSQL_DRIVERS[:1])
async def test_statement_that_takes_too_long_on_mysql(on_mysql: MigrationProject):
    """migration_statement_timeout ends it."""
    on_mysql.revision("two", "one", "op.execute('CREATE TABLE two AS SELECT SLEEP(20) AS a')")
    with pytest.raises(MigrationFailed, match="max_statement_time"):
        await on_mysql.migrator(migration_statement_timeout=0.2).upgrade()
    assert await on_mysql.migrator().current() == ("one",)


@pytest.mark.parametrize("mysql_driver", MYSQL_DRIVERS[:1])
async def test_user_without_rights_on_mysql(on_mysql: MigrationProject):
    """The message leads to DATABASE_MIGRATION_URL."""
    name = f"reader_{uuid.uuid4().hex[:12]}"
    async with Database(on_mysql.settings()) as database, database.session() as session:
        await session.execute(text(f"CREATE USER {name} IDENTIFIED BY 'secret'"))
        await session.execute(text(f"GRANT SELECT ON *.* TO {name}"))
        url = on_mysql.url.replace("root@", f"{name}:secret@")
        project = MigrationProject(on_mysql.folder, url, on_mysql.package)
        with pytest.raises(MigrationError, match="DATABASE_MIGRATION_URL"):
            await project.migrator().upgrade()
        await session.execute(text(f"DROP USER {name}"))


@pytest.fixture
def on_postgresql(tmp_path: Path, driver_url: str) -> MigrationProject:
    """A project on PostgreSQL."""
    return migration_project(tmp_path, driver_url)


async def test_lost_lock_rolls_the_revision_back(
    on_postgresql: MigrationProject, monkeypatch: pytest.MonkeyPatch
):
    """An administrator ends the session of the lock: another process may migrate, so this one stops."""
    monkeypatch.setattr("fastapi_asyncdb.migrations.lock._UNCHECKED", 0.0)
    on_postgresql.table("one", None)
    on_postgresql.revision(
        "two",
        "one",
        "op.create_table('two', sa.Column('id', sa.Integer))\n"
        "op.execute(\"SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' "
        "AND pid <> pg_backend_pid() AND database = "
        '(SELECT oid FROM pg_database WHERE datname = current_database())")',
    )
    with pytest.raises(MigrationError, match="lock of the migrations is lost"):
        await on_postgresql.migrator().upgrade()
    assert await on_postgresql.migrator().current() == ("one",)


@pytest.mark.databases(*DATABASES[1:], MARIADB[0])
async def test_lock_timeout_is_tried_again(
    project: MigrationProject, caplog: pytest.LogCaptureFixture
):
    """A revision that waits for a lock for too long is rolled back, and applied by a later attempt."""
    await project.migrator().upgrade()
    project.revision("extra", "last", "op.add_column('one', sa.Column('extra', sa.Integer))")
    async with Database(project.settings()) as database, database.session() as session:
        await session.execute(text("SELECT * FROM one"))
        waiting = asyncio.create_task(project.migrator(migration_lock_timeout=0.05).upgrade())
        while "Attempt 2 of 5" not in caplog.text:
            assert not waiting.done()
            await asyncio.sleep(0.01)
        assert not waiting.done()
        await session.rollback()
        assert [each.revision for each in await waiting] == ["extra"]


async def test_lock_timeout_in_each_attempt(
    on_postgresql: MigrationProject, monkeypatch: pytest.MonkeyPatch
):
    """The message says what held the lock up, and the schema is as before."""
    monkeypatch.setattr("fastapi_asyncdb.migrations.command_runner._FIRST_DELAY", 0.01)
    monkeypatch.setattr("fastapi_asyncdb.migrations.command_runner._LONGEST_DELAY", 0.01)
    on_postgresql.table("one", None)
    await on_postgresql.migrator().upgrade()
    on_postgresql.revision("two", "one", "op.add_column('one', sa.Column('extra', sa.Integer))")
    async with Database(on_postgresql.settings()) as database, database.session() as session:
        await session.execute(text("SELECT * FROM one"))
        with pytest.raises(MigrationFailed, match="DATABASE_MIGRATION_LOCK_TIMEOUT"):
            await on_postgresql.migrator(migration_lock_timeout=0.05).upgrade()
    assert await on_postgresql.migrator().current() == ("one",)


async def test_index_that_is_created_concurrently(on_postgresql: MigrationProject):
    """In an autocommit block, beside processes that wait for the lock: no deadlock."""
    on_postgresql.table("one", None)
    on_postgresql.revision(
        "two",
        "one",
        "with op.get_context().autocommit_block():\n"
        "    op.create_index('ix_one', 'one', ['id'], postgresql_concurrently=True)",
        "op.drop_index('ix_one', 'one')",
    )
    many = [on_postgresql.migrator().upgrade() for _ in range(3)]
    applied = [each.revision for done in await asyncio.gather(*many) for each in done]
    assert applied == ["one", "two"]


async def test_index_waits_for_older_transactions(on_postgresql: MigrationProject):
    """An index that is built concurrently blocks nothing while it waits: it has no lock timeout."""
    on_postgresql.table("one", None)
    await on_postgresql.migrator().upgrade()
    on_postgresql.revision(
        "two",
        "one",
        "with op.get_context().autocommit_block():\n"
        "    op.create_index('ix_one', 'one', ['id'], postgresql_concurrently=True)",
    )
    async with Database(on_postgresql.settings()) as database:
        async with database.session(isolation_level="REPEATABLE READ") as session:
            await session.execute(text("SELECT * FROM one"))
            waiting = asyncio.create_task(
                on_postgresql.migrator(migration_lock_timeout=0.05).upgrade()
            )
            await asyncio.sleep(0.5)
            assert not waiting.done()
        assert [each.revision for each in await waiting] == ["two"]


async def test_failure_in_an_autocommit_block_is_not_tried_again(on_postgresql: MigrationProject):
    """What it did stays, and the message says so."""
    on_postgresql.revision(
        "one",
        None,
        "with op.get_context().autocommit_block():\n"
        "    op.execute('CREATE TABLE half (id integer)')\n"
        "    op.execute('SELECT 1 / 0')",
    )
    with pytest.raises(MigrationFailed, match="failed in an autocommit block"):
        await on_postgresql.migrator().upgrade()


async def test_role_without_rights(on_postgresql: MigrationProject, postgres_url: str):
    """The message leads to DATABASE_MIGRATION_URL, with which the same role's process migrates."""
    on_postgresql.table("one", None)
    role = f"reader_{os.getpid()}"
    async with Database(on_postgresql.settings()) as database, database.session() as session:
        await session.execute(text(f"DROP ROLE IF EXISTS {role}"))
        await session.execute(text(f"CREATE ROLE {role} LOGIN PASSWORD 'secret'"))
        await session.execute(text("REVOKE CREATE ON SCHEMA public FROM PUBLIC"))
    url = on_postgresql.url.replace("://postgres@", f"://{role}:secret@")
    assert url != on_postgresql.url
    project = MigrationProject(on_postgresql.folder, url, on_postgresql.package)
    with pytest.raises(MigrationError, match="DATABASE_MIGRATION_URL"):
        await project.migrator().upgrade()
    (applied,) = await project.migrator(migration_url=on_postgresql.url).upgrade()
    assert applied.revision == "one"


@pytest.mark.parametrize("driver", DRIVERS)
async def test_pooler_is_refused(tmp_path: Path, pooled_url: str, postgres_url: str, driver: str):
    """In transaction mode another client gets the session of the lock; the message has the cure."""
    project = migration_project(tmp_path, with_driver(pooled_url, driver))
    project.table("one", None)
    with pytest.raises(ConfigurationError, match="DATABASE_MIGRATION_URL"):
        await project.migrator().upgrade()
    direct = with_driver(postgres_url, driver)
    assert len(await project.migrator(migration_url=direct).upgrade()) == 1
