"""Backfills change each row once, in batches that are committed, and go on after a kill."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from fastapi_asyncdb import Database, DatabaseSettings
from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.migrations import BackfillProgress, MigrationConfig, Migrator, backfill
from fastapi_asyncdb.migrations.engines import Source
from tests.support.databases import LONG

ROOT = Path(__file__).parents[2]
METADATA = sa.MetaData()
POSTS = sa.Table(
    "posts",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("title", sa.String(50), nullable=False),
    sa.Column("slug", sa.String(50)),
    sa.Column("writes", sa.Integer, nullable=False, server_default="0"),
)
SEATS = sa.Table(
    "seats",
    METADATA,
    sa.Column("row", sa.String(5), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("price", sa.Integer),
)
ROWS = 250
SLUGS = {"slug": sa.func.lower(sa.column("title")), "writes": sa.column("writes") + 1}


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[AsyncConnection]:
    """A connection to posts and seats that need values."""
    async with database.engine.connect() as connection:
        await connection.run_sync(METADATA.create_all)
        # With gaps, and in another order than that of the key.
        posts = [{"id": number * 3, "title": f"Post {number}"} for number in range(ROWS, 0, -1)]
        await connection.execute(POSTS.insert(), posts)
        seats = [{"row": row, "number": number} for number in range(1, 26) for row in "BACD"]
        await connection.execute(SEATS.insert(), seats)
        await connection.commit()
        yield connection


async def writes(connection: AsyncConnection) -> dict[int, int]:
    """Return how many posts were changed how often."""
    statement = sa.select(POSTS.c.writes, sa.func.count()).group_by(POSTS.c.writes)
    counted = {row[0]: row[1] for row in await connection.execute(statement)}
    await connection.rollback()
    return counted


@pytest.mark.parametrize("table", ["posts", POSTS], ids=["name", "table"])
@pytest.mark.parametrize("size", [1000, 100, 7])
async def test_each_row_is_changed_once(
    connection: AsyncConnection, table: str | sa.Table, size: int
):
    """By name or by table, in one batch or in many; rows that do not match are left alone."""
    await connection.execute(POSTS.update().where(POSTS.c.id > 740).values(slug="mine"))
    await connection.commit()
    seen: list[BackfillProgress] = []
    changed = await connection.run_sync(
        backfill,
        table,
        values=SLUGS,
        where="slug IS NULL OR slug = ''",
        batch_size=size,
        progress=seen.append,
    )
    assert (changed, await writes(connection)) == (246, {1: 246, 0: 4})
    assert len(seen) == -(-246 // size)
    assert (seen[-1].done, seen[-1].total, seen[-1].table) == (246, 246, "posts")
    assert seen[-1].rate > 0
    assert seen[-1].remaining == 0


async def test_each_batch_is_committed(database: Database, connection: AsyncConnection):
    """Another connection sees a batch before the next one starts; a failure keeps what is done."""

    def stop(progress: BackfillProgress) -> None:
        if progress.done >= 100:
            raise RuntimeError("the process ends")

    with pytest.raises(RuntimeError, match="the process ends"):
        await connection.run_sync(
            backfill, "posts", values=SLUGS, where="slug IS NULL", batch_size=50, progress=stop
        )
    async with database.read_engine.connect() as other:
        assert await writes(other) == {1: 100, 0: 150}
    assert not connection.in_transaction()
    again = await connection.run_sync(backfill, "posts", values=SLUGS, where="slug IS NULL")
    assert (again, await writes(connection)) == (150, {1: 250})


async def test_keys_of_several_columns(connection: AsyncConnection):
    """The walk follows the whole key."""
    changed = await connection.run_sync(
        backfill, "seats", values={"price": 5}, where="price IS NULL", batch_size=7
    )
    missing = sa.select(sa.func.count()).where(SEATS.c.price.is_(None))
    assert (changed, await connection.scalar(missing)) == (100, 0)


async def test_values_are_bound(connection: AsyncConnection):
    """A quote in a value is no SQL."""
    nasty = "'; DROP TABLE posts; --"
    where = sa.text("slug IS NULL AND title <> :it").bindparams(it=nasty)
    await connection.run_sync(backfill, "posts", values={"slug": nasty}, where=where)
    assert await connection.scalar(sa.select(POSTS.c.slug).distinct()) == nasty


async def test_rows_that_still_match_do_not_run_for_ever(connection: AsyncConnection):
    """The walk ends with the last key."""
    changed = await connection.run_sync(
        backfill, "posts", values={"slug": None}, where="slug IS NULL", batch_size=100
    )
    assert changed == ROWS


@pytest.mark.databases("sqlite")
async def test_refusals(connection: AsyncConnection):
    """One transaction of all batches, no key, and nothing to do are errors before the first batch."""
    await connection.execute(sa.text("CREATE TABLE logs (line TEXT)"))
    with pytest.raises(ConfigurationError, match=r"in a transaction.*op\.get_context"):
        await connection.run_sync(backfill, "posts", values=SLUGS, where="slug IS NULL")
    await connection.commit()
    with pytest.raises(ConfigurationError, match="logs has no primary key"):
        await connection.run_sync(backfill, "logs", values={"line": ""}, where="line IS NULL")
    with pytest.raises(ConfigurationError, match="batch_size=0"):
        await connection.run_sync(
            backfill, "posts", values=SLUGS, where="slug IS NULL", batch_size=0
        )


@pytest.mark.databases("postgresql-asyncpg", "postgresql-psycopg")
@pytest.mark.parametrize("in_autocommit", [False, True])
async def test_batch_that_waits_for_a_lock_is_repeated(
    database: Database,
    connection: AsyncConnection,
    caplog: pytest.LogCaptureFixture,
    in_autocommit: bool,
):
    """A row that the application has locked does not end a backfill of hours."""
    if in_autocommit:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
    await connection.execute(sa.text("SET lock_timeout = '50ms'"))
    await connection.commit()
    async with database.engine.connect() as other:
        await other.execute(POSTS.update().where(POSTS.c.id == 300).values(title="Held"))
        with caplog.at_level(logging.WARNING, "fastapi_asyncdb"):
            work = asyncio.create_task(
                connection.run_sync(backfill, "posts", values=SLUGS, where="slug IS NULL")
            )
            while "a batch is repeated" not in caplog.text and not work.done():
                await asyncio.sleep(0.01)
        await other.commit()
        assert await work == ROWS
    assert await writes(connection) == {1: ROWS}


@pytest.mark.databases("sqlite")
async def test_progress_is_logged(connection: AsyncConnection, caplog: pytest.LogCaptureFixture):
    """At once, then every few seconds, and at the end: not once for each batch."""
    with caplog.at_level(logging.INFO, "fastapi_asyncdb"):
        await connection.run_sync(
            backfill, "posts", values=SLUGS, where="slug IS NULL", batch_size=5, pause=0.0001
        )
    first, *_, last = [record.message for record in caplog.records]
    assert first.startswith("posts: 5 of 250 rows, ")
    assert " rows/s, about " in first
    assert last.startswith("posts: changed 250 rows in ")
    assert len(caplog.records) < 5


# --- In a revision --------------------------------------------------------------------------------

_FIRST = """\
import sqlalchemy as sa
from alembic import op
revision, down_revision = "0001", None
def upgrade():
    op.create_table("posts", sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("title", sa.String(50)), sa.Column("slug", sa.String(50)),
        sa.Column("writes", sa.Integer, nullable=False, server_default="0"))
def downgrade():
    op.drop_table("posts")
"""
_SECOND = """\
import sys
import sqlalchemy as sa
from alembic import op
from fastapi_asyncdb.migrations import backfill
revision, down_revision = "0002", "0001"
def upgrade():
    backfill(op.get_context(), "posts", where="slug IS NULL", batch_size=10, progress=report,
        values={"slug": sa.func.lower(sa.column("title")), "writes": sa.column("writes") + 1})
def downgrade():
    raise NotImplementedError("The slugs stay.")
def report(progress):
    print(progress.done, flush=True)
    sys.stdin.readline()
"""
_PROGRAM = """\
import asyncio
from fastapi_asyncdb.migrations import Migrator
applied = asyncio.run(Migrator().upgrade())
print([each.revision for each in applied])
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a revision that fills a table, and waits for a line after each batch."""
    versions = tmp_path / "project" / "migrations" / "versions"
    versions.mkdir(parents=True)
    (versions / "0001_posts.py").write_text(_FIRST)
    (versions / "0002_slugs.py").write_text(_SECOND)
    (tmp_path / "project" / "pyproject.toml").write_text("[tool.fastapi-asyncdb]\n")
    return tmp_path / "project"


def start(project: Path, url: str) -> subprocess.Popen[str]:
    """Start the upgrade in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", _PROGRAM],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(ROOT), "DATABASE_URL": url},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def read_batches(process: subprocess.Popen[str], number: int) -> list[str]:
    """Let the process do so many batches, and return what it printed."""
    assert process.stdin is not None
    assert process.stdout is not None
    lines = []
    for _ in range(number):
        lines.append(process.stdout.readline().strip())
        if len(lines) < number:
            process.stdin.write("\n")
            process.stdin.flush()
    return lines


@pytest.mark.databases(*LONG)
async def test_killed_half_way_and_started_again(project: Path, database_url: str):
    """What was committed stays, and no row is changed twice."""
    config = MigrationConfig.load(file=project / "pyproject.toml")
    settings = DatabaseSettings(url=database_url)
    await Migrator(config, source=Source(settings)).upgrade("0001")
    async with Database(settings) as database:
        async with database.engine.begin() as connection:
            rows = [{"id": number, "title": f"Post {number}"} for number in range(1, 101)]
            await connection.execute(POSTS.insert(), rows)
        process = start(project, database_url)
        try:
            assert read_batches(process, 3) == ["10", "20", "30"]
        finally:
            process.send_signal(signal.SIGKILL)
            process.communicate()
        async with database.engine.connect() as connection:
            assert await writes(connection) == {1: 30, 0: 70}
        process = start(project, database_url)
        said, _ = process.communicate("\n" * 20, timeout=60)
        assert said.split("\n")[0] == "10"
        assert said.split("\n")[-3:-1] == ["70", "['0002']"]
        async with database.engine.connect() as connection:
            assert await writes(connection) == {1: 100}


@pytest.mark.databases("sqlite")
def test_script_of_sql_has_one_statement(project: Path, monkeypatch: pytest.MonkeyPatch):
    """A script cannot repeat a statement: it gets the whole change."""
    config = MigrationConfig.load(file=project / "pyproject.toml")
    monkeypatch.setenv("DATABASE_URL", "postgresql://localhost/app")
    sql = Migrator(config).sql("0002", start="0001")
    assert "COMMIT;\n\n-- Alembic itself does this in batches:" in sql
    assert (
        "UPDATE posts SET slug=lower(title), writes=(writes + 1) WHERE (slug IS NULL);"
        in " ".join(sql.split())
    )
