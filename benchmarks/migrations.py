"""How long does an upgrade of 300 revisions take, beside plain Alembic's?

Each is a process of its own on an empty database, interleaved: SQLite, and a PostgreSQL of its own.
Plain Alembic runs twice: as its asynchronous template has it, in one transaction, and with a transaction
for each revision, as the library does. ``python -m benchmarks.migrations [ROUNDS]``
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import asyncpg

from fastapi_asyncdb.testing import postgres_server

REVISIONS = 300
LIMIT = 1.15
REVISION = """
import sqlalchemy as sa
from alembic import op

revision, down_revision = {name!r}, {before!r}


def upgrade():
    op.create_table({name!r}, sa.Column("id", sa.Integer, primary_key=True))


def downgrade():
    op.drop_table({name!r})
"""
PLAIN = """
import asyncio, os
from alembic import context
from sqlalchemy import pool
from sqlalchemy.ext.asyncio import create_async_engine


def run(connection):
    context.configure(connection=connection, target_metadata=None, transaction_per_migration={each})
    with context.begin_transaction():
        context.run_migrations()


async def main():
    engine = create_async_engine(os.environ["PLAIN_URL"], poolclass=pool.NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(run)
        await connection.commit()
    await engine.dispose()


asyncio.run(main())
"""
OURS = "from fastapi_asyncdb.migrations import run_env\n\nrun_env()\n"
INI = "[alembic]\nscript_location = %(here)s/migrations\npath_separator = os\n"
BIN = Path(sys.executable).parent
UPGRADE = [str(BIN / "alembic"), "upgrade", "head"]
SUBJECTS = {
    "alembic upgrade, one transaction": (PLAIN.format(each=False), UPGRADE),
    "alembic upgrade, a transaction each": (PLAIN.format(each=True), UPGRADE),
    "alembic upgrade, with run_env()": (OURS, UPGRADE),
    "asyncdb upgrade": (OURS, [str(BIN / "asyncdb"), "upgrade"]),
}


def write_project(folder: Path) -> None:
    """Write the revisions, and the two files of configuration."""
    versions = folder / "migrations" / "versions"
    versions.mkdir(parents=True)
    names = [f"t{number:03}" for number in range(REVISIONS)]
    for name, before in zip(names, [None, *names], strict=False):
        (versions / f"{name}.py").write_text(REVISION.format(name=name, before=before))
    (folder / "alembic.ini").write_text(INI)
    (folder / "pyproject.toml").write_text("[tool.fastapi-asyncdb]\n")


def empty(url: str) -> None:
    """Remove all tables."""
    if url.startswith("sqlite"):
        Path(url.partition(":///")[2]).unlink(missing_ok=True)
        return

    async def drop() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        await connection.close()

    asyncio.run(drop())


def seconds(folder: Path, url: str, env: str, command: list[str]) -> float:
    """Return the time of one upgrade of an empty database."""
    empty(url)
    (folder / "migrations" / "env.py").write_text(env)
    scheme, _, rest = url.partition("://")
    driver = {"sqlite": "aiosqlite", "postgresql": "asyncpg"}[scheme]
    variables = {**os.environ, "DATABASE_URL": url, "PLAIN_URL": f"{scheme}+{driver}://{rest}"}
    # As an installed package has it: pip compiles, and an editable one is compiled by its first run.
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    started = time.perf_counter()
    subprocess.run(command, cwd=folder, env=variables, check=True, capture_output=True)
    return time.perf_counter() - started


def compare(folder: Path, url: str, rounds: int) -> None:
    """Print the medians, and the median ratio within a round to plain Alembic."""
    for subject in SUBJECTS.values():
        seconds(folder, url, *subject)
    runs = [
        {name: seconds(folder, url, *subject) for name, subject in SUBJECTS.items()}
        for _ in range(rounds)
    ]
    print(url.partition(":")[0])
    base = next(iter(SUBJECTS))
    for name in SUBJECTS:
        median = statistics.median(run[name] for run in runs)
        ratio = statistics.median(run[name] / run[base] for run in runs)
        print(f"{median:8.2f} s {ratio:6.2f}  {name}")


def main(rounds: int) -> None:
    """Compare on both databases."""
    with tempfile.TemporaryDirectory() as name, postgres_server() as server:
        folder = Path(name)
        write_project(folder)
        compare(folder, f"sqlite:///{folder}/app.db", rounds)
        compare(folder, server.url(), rounds)
    print(f"the limit is {LIMIT}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
