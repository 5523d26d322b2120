"""Packages that extend Alembic's autogenerate, imported by ``env.py`` before ``run_env()``.

They register themselves for the whole process, so a process of its own takes all steps.
"""

import json
import os
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests.support.migration_project import ENV, migration_project
from tests.support.warm_python import ROOT, WarmPython

pytestmark = pytest.mark.databases("postgresql-asyncpg", "postgresql-psycopg")

ENUMS = "import alembic_postgresql_enum\n"
OBJECTS = """\
from sqlalchemy_declarative_extensions import register_alembic_events

register_alembic_events(schemas=False, roles=False, grants=False)
"""
MODELS = """
    from enum import Enum
    from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
    from sqlalchemy_declarative_extensions import Functions, View, Views, declarative_database
    from sqlalchemy_declarative_extensions.dialects.postgresql import Function, FunctionParam


    class Status(Enum):
        NEW = "new"
        PAID = "paid"
        # a further status


    @declarative_database
    class Base(DeclarativeBase):
        functions = Functions().are(
            # a function
        )
        views = Views().are(
            # a view
        )


    class Order(Base):
        __tablename__ = "orders"

        id: Mapped[int] = mapped_column(primary_key=True)
        status: Mapped[Status]
"""
FUNCTION = (
    'Function("twice", "BEGIN RETURN n * 2; END;", language="plpgsql", '
    'parameters=[FunctionParam("n", "integer")], returns="integer")'
)
VIEW = 'View("ids", "SELECT id FROM orders")'
STEPS = """
    import asyncio
    import json
    import sys
    from dataclasses import replace

    from sqlalchemy import text

    from fastapi_asyncdb import Database
    from fastapi_asyncdb.migrations import MigrationConfig, Migrator


    async def main(package, query):
        config = MigrationConfig.load()
        old = Migrator(replace(config, metadata=(f"{package}.old",)))
        new = Migrator(replace(config, metadata=(f"{package}.new",)))
        seen = []

        async def look():
            async with Database() as database, database.session() as session:
                found = [*await session.scalars(text(query))]
            seen.append([found, await old.differences(), await new.differences()])

        for migrator in (old, new):
            await migrator.revision("step")
            await migrator.upgrade()
            await look()
        await new.downgrade("-1")
        await new.upgrade()
        await new.downgrade("base")
        async with Database() as database, database.session() as session:
            seen.append([*await session.scalars(text(query))])
        print(json.dumps(seen))


    asyncio.run(main(*sys.argv[1:]))
"""


def run_steps(
    python: WarmPython, folder: Path, url: str, *, env: str, changes: dict[str, str], query: str
) -> list[Any]:
    """Migrate to the models, to the changed models, one step back and forth, and down to nothing.

    Returns:
        What the query finds, and the differences to the old and to the new models: after the first
        revision, and after the second; then what the query finds at the end.
    """
    project = migration_project(folder, url)
    changed = MODELS
    for old, new in changes.items():
        assert old in MODELS
        changed = changed.replace(old, new)
    project.write("migrations/env.py", env + ENV)
    project.write(f"{project.package}/old.py", MODELS)
    project.write(f"{project.package}/new.py", changed)
    arguments = ("-c", textwrap.dedent(STEPS), project.package, query)
    environment = {**os.environ, "DATABASE_URL": url, "PYTHONPATH": str(ROOT)}
    done = python.run(*arguments, cwd=folder, env=environment)
    assert done.returncode == 0, done.stderr
    seen: list[Any] = json.loads(done.stdout)
    return seen


def test_a_value_of_an_enum(python: WarmPython, tmp_path: Path, database_url: str):
    """alembic-postgresql-enum writes the change of the type, as SQL that both drivers run."""
    first, second, end = run_steps(
        python,
        tmp_path,
        database_url,
        env=ENUMS,
        changes={"# a further status": 'SENT = "sent"'},
        query="SELECT enumlabel FROM pg_enum ORDER BY enumsortorder",
    )
    assert first[:2] == [["NEW", "PAID"], []]
    assert "a revision is needed to add enum value: ['NEW', 'PAID'], ['NEW', " in first[2][0]
    assert (second[0], second[2], end) == (["NEW", "PAID", "SENT"], [], [])


def test_a_view_and_a_function(python: WarmPython, tmp_path: Path, database_url: str):
    """sqlalchemy-declarative-extensions writes both, and takes them away again."""
    first, second, end = run_steps(
        python,
        tmp_path,
        database_url,
        env=OBJECTS,
        changes={"# a view": VIEW, "# a function": FUNCTION},
        query="""
            SELECT viewname FROM pg_views WHERE viewname = 'ids'
            UNION SELECT proname FROM pg_proc WHERE proname = 'twice' ORDER BY 1
        """,
    )
    assert first[:2] == [[], []]
    lacks = " ".join(first[2])
    assert "a revision is needed to execute: CREATE VIEW ids" in lacks
    assert 'execute: CREATE FUNCTION "twice"' in lacks
    assert (second[0], second[2], end) == (["ids", "twice"], [], [])
