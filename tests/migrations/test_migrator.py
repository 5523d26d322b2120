"""Alembic's commands, run by the library on each database."""

import asyncio
import os
import sys
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import Connection, inspect, text

from fastapi_asyncdb import Database
from fastapi_asyncdb.errors import MigrationError, MigrationFailed, SchemaNotMigrated
from fastapi_asyncdb.migrations import Migrator
from fastapi_asyncdb.migrations.engines import source_of
from tests.support.databases import EVERY_KIND, LONG, MARIADB, ONE_DRIVER, POSTGRESQL
from tests.support.migration_project import ENV, INI, MigrationProject, migration_project
from tests.support.warm_python import WarmPython


@pytest.fixture
def project(tmp_path: Path, database_url: str) -> MigrationProject:
    """A project with models and without a revision, on each database."""
    return migration_project(tmp_path, database_url)


async def tables(project: MigrationProject) -> list[str]:
    """Return the tables of the database, without Alembic's."""
    async with Database(project.settings()) as database, database.engine.connect() as connection:
        names = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
    return sorted(set(names) - {"alembic_version"})


SCRIPTS = Path(__file__).parents[2] / "fastapi_asyncdb" / "migrations" / "scripts"


async def test_from_models_to_tables_and_back(project: MigrationProject):
    """A generated revision makes the tables of the models, is complete, and can be undone."""
    path = await project.migrator().revision("first tables")
    assert path is not None
    assert path.name.endswith("_first_tables.py")
    (applied,) = await project.migrator().upgrade()
    assert (applied.doc, await tables(project)) == ("first tables", ["posts", "users"])
    assert await project.migrator().current() == (applied.revision,)
    assert await project.migrator().differences() == []
    assert await project.migrator().revision("second") is None
    assert await project.migrator().upgrade() == []
    (undone,) = await project.migrator().downgrade("base")
    assert (undone.revision, await tables(project)) == (applied.revision, [])


async def test_one_migrator_writes_and_applies_a_revision(project: MigrationProject):
    """It knows the revision that it has written; a folder with ``env.py`` alone gets the template."""
    project.write("migrations/env.py", ENV)
    migrator = project.migrator()
    await migrator.revision("first")
    (applied,) = await migrator.upgrade()
    assert (applied.doc, await tables(project)) == ("first", ["posts", "users"])
    assert (project.folder / "migrations" / "script.py.mako").is_file()


async def test_differences_between_models_and_schema(project: MigrationProject):
    """A column that a revision forgot, and one that a model lost, are named."""
    index = "ix_posts_user_id"
    await project.migrator().revision("first")
    await project.migrator().upgrade()
    async with Database(project.settings()) as database, database.session() as session:
        await session.execute(text("ALTER TABLE posts ADD COLUMN extra INTEGER"))
        if project.url.startswith("mysql"):  # A foreign key needs an index there: of another name.
            await session.execute(text("CREATE INDEX mine ON posts (user_id)"))
        on = " ON posts" if project.url.startswith("mysql") else ""
        await session.execute(text(f"DROP INDEX {index}{on}"))
    found = await project.migrator().differences()
    assert sorted(found) == [
        "posts: column extra is only in the database",
        f"posts: index {index} is only in the models",
        *(["posts: index mine is only in the database"] if on else []),
    ]


async def test_looking_changes_nothing(project: MigrationProject):
    """Commands that look create no table of Alembic's."""
    project.table("a", None)
    assert await project.migrator().current() == ()
    assert await project.migrator().pending() == "it is at no revision, and the code needs a."
    with pytest.raises(MigrationError, match="Run 'asyncdb upgrade' first"):
        await project.migrator().differences()
    async with Database(project.settings()) as database, database.engine.connect() as connection:
        names = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
    assert names == []


_HALF = (
    "op.create_table('half', sa.Column('id', sa.Integer, primary_key=True))\n"
    "op.execute('INSERT INTO missing VALUES (1)')"
)


@pytest.mark.databases("sqlite", *POSTGRESQL)
async def test_failed_revision_is_rolled_back_whole(project: MigrationProject):
    """The revisions before it stay; the message names it, its line and the database's own words.

    MySQL rolls back no change of the schema: the next test.
    """
    project.table("one", None)
    project.revision(
        "two",
        "one",
        _HALF,
    )
    with pytest.raises(
        MigrationFailed, match=r"Revision two failed, at two\.py:\d+: .*missing"
    ) as e:
        await project.migrator().upgrade()
    assert "It was rolled back" in str(e.value)
    assert await tables(project) == ["one"]
    assert await project.migrator().current() == ("one",)


@pytest.mark.databases(*MARIADB)
async def test_failed_revision_leaves_what_the_database_has_committed(project: MigrationProject):
    """The message has the statements that are done, without values, and what to do next."""
    project.table("one", None)
    project.revision(
        "two",
        "one",
        'op.execute("INSERT INTO one VALUES (1)")\n'
        "op.execute(\"CREATE TABLE half (id INTEGER DEFAULT '77')\")\n"
        "op.execute('INSERT INTO half VALUES (1)')\n"
        "op.execute('INSERT INTO missing VALUES (1)')",
    )
    with pytest.raises(
        MigrationFailed, match=r"Revision two failed, at two\.py:\d+: .*missing"
    ) as e:
        await project.migrator().upgrade()
    message = str(e.value)
    assert "stay" in message
    assert (
        "INSERT INTO one VALUES (1); CREATE TABLE half (id INTEGER DEFAULT '...'). The next"
        in message
    )
    assert "'asyncdb stamp REVISION'" in message
    assert await tables(project) == ["half", "one"]
    assert await project.migrator().current() == ("one",)
    async with Database(project.settings()) as database, database.session() as session:
        assert await session.scalar(text("SELECT count(*) FROM half")) == 0
        await session.execute(text("DROP TABLE half"))
    project.revision("two", "one", "op.execute('CREATE TABLE half (id INTEGER)')")
    assert len(await project.migrator().upgrade()) == 1


@pytest.mark.databases(MARIADB[0])
@pytest.mark.parametrize(
    ("step", "words"),
    [
        ("op.add_column('one', sa.Column('name', sa.String))", r"String\(255\)"),
        ("op.add_column('one', sa.Column('id', sa.Integer))", "The schema has it already"),
    ],
)
async def test_advice_of_mysql(project: MigrationProject, step: str, words: str):
    """The message says what to write, or what an earlier attempt may have left."""
    project.table("one", None)
    project.revision("two", "one", step)
    with pytest.raises(MigrationFailed, match=words):
        await project.migrator().upgrade()


@pytest.mark.databases(*MARIADB)
async def test_no_warning_of_names_of_primary_keys(
    project: MigrationProject, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
):
    """MariaDB has one for each table with a naming convention, and nothing can be done about it."""
    await project.migrator().revision("first")
    await project.migrator().upgrade()
    assert "PRIMARY" not in caplog.text
    assert not [each for each in recwarn if "PRIMARY" in str(each.message)]


@pytest.mark.databases(MARIADB[0])
@pytest.mark.parametrize(
    ("last", "stays"),
    [
        (
            "CREATE TABLE one (id INTEGER)",
            True,
        ),  # It exists, and the attempt has committed the row.
        ("INSERT INTO missing VALUES (1)", False),
        ("CREATE TABL typo", False),
    ],
)
async def test_rows_of_a_failed_revision(project: MigrationProject, last: str, stays: bool):
    """They stay if the statement that failed had committed them, and the message knows."""
    project.table("one", None)
    project.revision(
        "two", "one", f"op.execute('INSERT INTO one VALUES (7)'); op.execute({last!r})"
    )
    with pytest.raises(MigrationFailed) as e:
        await project.migrator().upgrade()
    assert ("INSERT INTO one" in str(e.value), "It was rolled back" in str(e.value)) == (
        stays,
        not stays,
    )
    async with Database(project.settings()) as database, database.session() as session:
        assert await session.scalar(text("SELECT count(*) FROM one")) == stays


async def test_tables_that_something_else_has_made(project: MigrationProject):
    """The message says how to adopt them, and stamping does."""
    project.table("one", None)
    async with Database(project.settings()) as database, database.session() as session:
        await session.execute(text("CREATE TABLE one (id INTEGER PRIMARY KEY)"))
    with pytest.raises(MigrationFailed, match="'asyncdb stamp REVISION'"):
        await project.migrator().upgrade()
    await project.migrator().stamp("one")
    assert await project.migrator().upgrade() == []


@pytest.mark.databases("postgresql-asyncpg")
async def test_several_statements_in_one(project: MigrationProject):
    """The driver asyncpg does not run them; the message says what to do."""
    project.revision("one", None, "op.execute('SELECT 1; SELECT 2')")
    with pytest.raises(MigrationFailed, match=r"call op\.execute\(\) for each"):
        await project.migrator().upgrade()


async def test_more_steps_than_there_are_revisions(project: MigrationProject):
    """The message says where to look."""
    project.table("one", None)
    with pytest.raises(MigrationError, match=r"not so many .*'asyncdb history -i'"):
        await project.migrator().upgrade("+2")


@pytest.mark.databases("sqlite")
async def test_beginning_of_several_revisions(project: MigrationProject):
    """The message says which they are, not that there is none."""
    project.table("beef1", None)
    project.table("beef2", "beef1")
    with pytest.raises(MigrationError, match=r"Multiple revisions start with 'beef'.*Write more"):
        await project.migrator().upgrade("beef")


async def test_two_heads(project: MigrationProject):
    """The message says which, and how to join them; ``heads`` applies both."""
    project.table("one", None)
    project.table("left", "one")
    project.table("right", "one")
    with pytest.raises(MigrationError, match=r"2 heads: left, right\..*asyncdb merge"):
        await project.migrator().upgrade()
    assert len(await project.migrator().upgrade("heads")) == 3
    with pytest.raises(MigrationError, match="asyncdb merge"):
        await project.migrator().upgrade()


async def test_database_that_is_ahead_of_the_code(project: MigrationProject):
    """A newer release has migrated it: it is served, not upgraded; a command says what to do."""
    project.table("one", None)
    newer = project.table("two", "one")
    await project.migrator().upgrade()
    newer.unlink()
    assert await project.migrator().pending() is None
    await project.migrator().require()
    assert await project.migrator().upgrade() == []
    with pytest.raises(MigrationError, match=r"no revision 'two'.*newer release"):
        await project.migrator().downgrade("base")


async def test_schema_behind_the_code_is_refused(project: MigrationProject):
    """``require`` names both revisions and the command."""
    project.table("one", None)
    await project.migrator().upgrade()
    project.table("two", "one")
    with pytest.raises(SchemaNotMigrated, match=r"at one, .* needs two\. Run 'asyncdb upgrade'"):
        await project.migrator().require()


@pytest.mark.databases(*EVERY_KIND)
async def test_upgrade_of_a_database_that_runs(project: MigrationProject):
    """``database.upgrade()`` migrates the same database, in memory too, on the event loop that runs."""
    project.table("one", None)
    async with Database(project.settings()) as database:
        (applied,) = await database.upgrade(config=project.folder / "pyproject.toml")
        assert applied.revision == "one"
        async with database.session() as session:
            assert await session.scalar(text("SELECT count(*) FROM one")) == 0


async def test_upgrade_of_a_database_that_is_not_started(project: MigrationProject):
    """Its own settings say where it is."""
    project.table("one", None)
    database = Database(project.settings())
    await database.upgrade(config=project.folder / "pyproject.toml")
    assert await tables(project) == ["one"]
    assert "not started" in repr(database)


async def test_connection_that_is_handed_in(project: MigrationProject):
    """As in Alembic's cookbook: the command runs on it, in its transaction."""
    project.table("one", None)
    async with Database(project.settings()) as database, database.engine.connect() as connection:

        def upgrade(sync: Connection) -> None:
            config = project.migrator().config.to_alembic()
            config.attributes["connection"] = sync
            command.upgrade(config, "head")

        await connection.begin()
        await connection.run_sync(upgrade)
        assert await connection.scalar(text("SELECT count(*) FROM one")) == 0
        await connection.rollback()
    # MySQL commits a change of the schema, in a transaction of the caller too.
    assert await tables(project) == (["one"] if project.url.startswith("mysql") else [])


async def test_alembics_command_where_an_event_loop_runs(
    project: MigrationProject, monkeypatch: pytest.MonkeyPatch
):
    """Other env.py files say here that ``asyncio.run()`` cannot be called."""
    project.table("one", None)
    monkeypatch.setenv("DATABASE_URL", project.url)
    command.upgrade(project.migrator().config.to_alembic(), "head")
    assert await tables(project) == ["one"]


def alembic(python: WarmPython, project: MigrationProject, *arguments: str) -> str:
    """Run Alembic's own command in the folder of the project; return what it prints."""
    script = Path(sys.executable).with_name("alembic")
    environment = {**os.environ, "DATABASE_URL": project.url}
    done = python.run(script, *arguments, cwd=project.folder, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.databases(*LONG)
def test_plain_alembic_on_the_same_folder(project: MigrationProject, python: WarmPython):
    """With an ini of three lines and an env.py of two, each of its commands works."""
    project.write("alembic.ini", INI)
    project.write("migrations/env.py", ENV)
    project.write("migrations/script.py.mako", (SCRIPTS / "script.py.mako").read_text())
    alembic(python, project, "revision", "--autogenerate", "-m", "first")
    assert "Running upgrade" in alembic(python, project, "upgrade", "head")
    assert "No new upgrade operations" in alembic(python, project, "check")
    assert "(head)" in alembic(python, project, "current")
    assert "CREATE TABLE posts" in alembic(python, project, "upgrade", "head", "--sql")
    alembic(python, project, "downgrade", "base")
    assert asyncio.run(tables(project)) == []


@pytest.mark.databases(*ONE_DRIVER)
async def test_folder_with_an_env_of_its_own_is_adopted(project: MigrationProject):
    """Alembic's own asynchronous template, with its URL in the ini: nothing in it is changed."""
    project.table("one", None)
    project.table("two", "one")
    async with Database(project.settings()) as database:
        url = database.engine.url.render_as_string(hide_password=False)
    project.write("alembic.ini", INI + f"    sqlalchemy.url = {url.replace('%', '%%')}\n")
    project.write("migrations/env.py", FOREIGN_ENV)
    applied = await project.migrator().upgrade()
    assert [each.revision for each in applied] == ["one", "two"]
    assert await tables(project) == ["one", "two"]
    assert await project.migrator().current() == ("two",)
    assert await project.migrator().upgrade() == []
    undone = await project.migrator().downgrade("base")
    assert [each.revision for each in undone] == ["two", "one"]


FOREIGN_ENV = """
    import asyncio

    from alembic import context
    from sqlalchemy import pool
    from sqlalchemy.ext.asyncio import async_engine_from_config

    config = context.config


    def do_run_migrations(connection):
        context.configure(connection=connection, target_metadata=None)
        with context.begin_transaction():
            context.run_migrations()


    async def run_async_migrations():
        engine = async_engine_from_config(
            config.get_section(config.config_ini_section), prefix="sqlalchemy.", poolclass=pool.NullPool
        )
        async with engine.connect() as connection:
            await connection.run_sync(do_run_migrations)
            await connection.commit()
        await engine.dispose()


    asyncio.run(run_async_migrations())
"""


@pytest.mark.databases(*ONE_DRIVER)
async def test_sql_without_a_connection(project: MigrationProject):
    """The SQL of an upgrade, from the start or from a revision."""
    project.table("one", None)
    project.table("two", "one")
    migrator = project.migrator()
    assert [f"CREATE TABLE {name}" in migrator.sql() for name in ("one", "two")] == [True, True]
    assert "CREATE TABLE one" not in migrator.sql(start="one")


async def test_progress_is_reported(project: MigrationProject, caplog: pytest.LogCaptureFixture):
    """Each revision is reported as it is applied, and logged."""
    caplog.set_level("INFO", "fastapi_asyncdb.migrations")
    project.table("one", None)
    project.table("two", "one")
    seen: list[str] = []
    migrator = project.migrator()
    await Migrator(
        migrator.config,
        source=source_of(Database(project.settings())),
        progress=lambda applied: seen.append(applied.revision),
    ).upgrade()
    assert seen == ["one", "two"]
    assert "Applied two in" in caplog.text
