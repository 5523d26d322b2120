"""Tables in schemas, several ``MetaData``, several databases."""

import os
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import inspect, text

from fastapi_asyncdb import Database
from fastapi_asyncdb.errors import ConfigurationError, MigrationFailed
from fastapi_asyncdb.migrations import MigrationConfig, Migrator
from tests.support.migration_project import ENV, INI, MigrationProject, migration_project
from tests.support.warm_python import ROOT, WarmPython

POSTGRESQL = ("postgresql-asyncpg", "postgresql-psycopg")
SCRIPTS = Path(__file__).parents[2] / "fastapi_asyncdb" / "migrations" / "scripts"
IN_SCHEMAS = """
    import enum
    from sqlalchemy import ForeignKey
    from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


    class Status(enum.Enum):
        NEW = "new"


    class Base(DeclarativeBase):
        pass


    class Customer(Base):
        __tablename__ = "customers"

        id: Mapped[int] = mapped_column(primary_key=True)


    class Order(Base):
        __tablename__ = "orders"
        __table_args__ = {"schema": "sales"}

        id: Mapped[int] = mapped_column(primary_key=True)
        customer_id: Mapped[int] = mapped_column(ForeignKey("customers.id"), index=True)
        status: Mapped[Status]
"""
OF_ANOTHER_APPLICATION = """
    CREATE SCHEMA warehouse;
    CREATE TYPE warehouse.status AS ENUM ('OPEN');
    CREATE TABLE warehouse.orders (id INTEGER PRIMARY KEY, status warehouse.status);
    CREATE TABLE warehouse.invoices (id INTEGER PRIMARY KEY)
"""


async def run(project: MigrationProject, statements: str) -> None:
    """Run statements on the test database."""
    async with Database(project.settings()) as database, database.session() as session:
        for statement in statements.split(";"):
            await session.execute(text(statement))


async def tables(project: MigrationProject, schema: str) -> list[str]:
    """Return the tables in a schema."""
    async with Database(project.settings()) as database, database.engine.connect() as connection:
        return sorted(await connection.run_sync(lambda s: inspect(s).get_table_names(schema)))


@pytest.fixture
async def project_in_schemas(tmp_path: Path, database_url: str) -> AsyncIterator[MigrationProject]:
    """A project with models in schemas, which are dropped at the end."""
    project = migration_project(tmp_path, database_url, models=IN_SCHEMAS)
    yield project
    await run(project, "DROP SCHEMA IF EXISTS sales, warehouse CASCADE")


@pytest.mark.databases(*POSTGRESQL)
async def test_tables_in_a_schema(project_in_schemas: MigrationProject):
    """The revision creates the schema; those of another application are left alone, the enum too."""
    project = project_in_schemas
    await run(project, OF_ANOTHER_APPLICATION)
    path = await project.migrator().revision("first")
    assert path is not None
    assert "op.execute('CREATE SCHEMA IF NOT EXISTS sales')" in path.read_text()
    assert "warehouse" not in path.read_text()
    await project.migrator().upgrade()
    assert await tables(project, "sales") == ["orders"]
    assert await project.migrator().differences() == []
    assert await project.migrator().revision("second") is None
    await run(project, "ALTER TABLE sales.orders ADD COLUMN extra INTEGER")
    await run(project, "DROP INDEX sales.ix_sales_orders_customer_id")
    assert sorted(await project.migrator().differences()) == [
        "sales.orders: column extra is only in the database",
        "sales.orders: index ix_sales_orders_customer_id is only in the models",
    ]
    await run(project, "CREATE INDEX ix_sales_orders_customer_id ON sales.orders (customer_id)")
    await project.migrator().downgrade("base")
    assert await tables(project, "sales") == []
    assert await tables(project, "warehouse") == ["invoices", "orders"]


@pytest.mark.databases(POSTGRESQL[0])
async def test_models_in_schemas_only(project_in_schemas: MigrationProject):
    """Tables of the default schema belong to another application then."""
    project = project_in_schemas
    models = IN_SCHEMAS.replace(
        '= "customers"', '= "customers"\n        __table_args__ = {"schema": "sales"}'
    )
    models = models.replace('"customers.id"', '"sales.customers.id"')
    project.write(f"{project.package}/models.py", models)
    await run(project, "CREATE TABLE invoices (id INTEGER PRIMARY KEY)")
    path = await project.migrator().revision("first")
    assert path is not None
    assert "invoices" not in path.read_text()
    await project.migrator().upgrade()
    assert await project.migrator().differences() == []


@pytest.mark.databases(POSTGRESQL[0])
async def test_schema_that_is_not_there(tmp_path: Path, database_url: str):
    """The message of a revision that forgot it says how to create it."""
    project = migration_project(tmp_path, database_url)
    project.revision(
        "one", None, "op.create_table('a', sa.Column('id', sa.Integer), schema='missing')"
    )
    with pytest.raises(MigrationFailed, match=r"no such schema.*op\.execute\('CREATE SCHEMA"):
        await project.migrator().upgrade()


async def test_several_metadatas_in_one_revision(tmp_path: Path, database_url: str):
    """The tables of all are created, compared and dropped together."""
    project = migration_project(tmp_path, database_url)
    project.write(
        f"{project.package}/audit.py",
        """
        from sqlalchemy import Column, Integer, MetaData, Table

        audit = MetaData()
        log = Table("audit_log", audit, Column("id", Integer, primary_key=True))
        """,
    )
    names = [f"{project.package}.models:Base", f"{project.package}.audit:audit"]
    project.write("pyproject.toml", f"[tool.fastapi-asyncdb]\nmetadata = {names}")
    path = await project.migrator().revision("first")
    assert path is not None
    assert [name in path.read_text() for name in ("'users'", "'posts'", "'audit_log'")] == [
        True
    ] * 3
    await project.migrator().upgrade()
    assert await project.migrator().differences() == []
    await run(project, "DROP TABLE audit_log")
    assert await project.migrator().differences() == ["table audit_log is only in the models"]


async def test_functions_of_env_that_change_new_revisions(tmp_path: Path, database_url: str):
    """As in Alembic's cookbook: they see what the command line was, and every new revision."""
    project = migration_project(tmp_path, database_url)
    project.write(
        "migrations/env.py",
        """
        from alembic import context
        from fastapi_asyncdb.migrations import run_env


        def number(migration_context, revision, directives):
            if context.config.cmd_opts.autogenerate:
                script = directives[0]
                if script.upgrade_ops.is_empty():
                    directives[:] = []
                else:
                    script.rev_id = "0001"


        run_env(process_revision_directives=number)
        """,
    )
    path = await project.migrator().revision("first")
    assert path is not None
    assert path.name == "0001_first.py"
    await project.migrator().upgrade()
    assert await project.migrator().revision("second") is None


def two_databases(folder: Path, url: str, lines: str = "") -> MigrationProject:
    """Write a project with a further database, ``events``, in a file of SQLite."""
    project = migration_project(folder, url)
    project.write(
        f"{project.package}/events.py",
        f"""
        from sqlalchemy import Column, Integer, MetaData, Table
        from fastapi_asyncdb import Database, DatabaseSettings

        metadata = MetaData()
        events = Table("events", metadata, Column("id", Integer, primary_key=True))
        database = Database(DatabaseSettings(url="sqlite:///{folder}/events.db"))
        """,
    )
    project.write(
        "pyproject.toml",
        f"""
        [tool.fastapi-asyncdb]
        metadata = "{project.package}.models:Base"

        [tool.fastapi-asyncdb.databases.events]
        metadata = "{project.package}.events:metadata"
        database = "{project.package}.events:database"
        {lines}
        """,
    )
    (folder / "of_events" / "versions").mkdir(parents=True)
    return project


def with_ini(project: MigrationProject) -> None:
    """Add what plain Alembic needs: a section for each database, and an env.py in each folder."""
    section = INI.replace("[alembic]", "[events]").replace("/migrations", "/of_events")
    project.write("alembic.ini", textwrap.dedent(INI) + textwrap.dedent(section))
    for folder in ("migrations", "of_events"):
        project.write(f"{folder}/env.py", ENV)
        project.write(f"{folder}/script.py.mako", (SCRIPTS / "script.py.mako").read_text())


def command(python: WarmPython, project: MigrationProject, *arguments: str) -> str:
    """Run a command in the folder of the project; return what it prints."""
    environment = {**os.environ, "DATABASE_URL": project.url, "PYTHONPATH": str(ROOT)}
    done = python.run("-m", *arguments, cwd=project.folder, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def events(project: MigrationProject) -> Migrator:
    """Return the migrations of the further database, where its own line says that it is."""
    return Migrator(MigrationConfig.load("events", file=project.folder / "pyproject.toml"))


@pytest.mark.databases("sqlite", POSTGRESQL[0])
@pytest.mark.parametrize("lines", ['migrations = "of_events"', ""], ids=["line", "section"])
@pytest.mark.parametrize("ini", [False, True], ids=["no ini", "ini"])
async def test_several_databases(tmp_path: Path, database_url: str, lines: str, *, ini: bool):
    """Each has its models, its folder, its revisions; with a section of alembic.ini, and without."""
    project = two_databases(tmp_path, database_url, lines)
    if not ini and not lines:
        with pytest.raises(ConfigurationError, match="names no folder of revisions"):
            await events(project).revision("first")
        return
    if ini:
        with_ini(project)
    for migrator, folder, table in (
        (project.migrator(), "migrations", "users"),
        (events(project), "of_events", "events"),
    ):
        path = await migrator.revision("first")
        assert path is not None
        assert path.parent == tmp_path / folder / "versions"
        assert f"create_table('{table}'" in path.read_text()
        await migrator.upgrade()
        assert await migrator.differences() == []


@pytest.mark.databases(POSTGRESQL[0])
@pytest.mark.parametrize("lines", ['migrations = "of_events"', ""], ids=["line", "section"])
async def test_commands_on_a_further_database(
    tmp_path: Path, database_url: str, python: WarmPython, lines: str
):
    """What ``asyncdb --database`` writes, ``alembic -n`` runs, and the other way round."""
    project = two_databases(tmp_path, database_url, lines)
    with_ini(project)
    cli = ("fastapi_asyncdb.cli", "--database", "events")
    command(python, project, *cli, "revision", "-m", "first")
    command(python, project, "alembic", "-n", "events", "upgrade", "head")
    assert "newest revision" in command(python, project, *cli, "check")
    command(python, project, "alembic", "-n", "events", "revision", "-m", "second")
    assert "second" in command(python, project, *cli, "upgrade")
    assert await events(project).pending() is None
    assert await project.migrator().current() == ()
