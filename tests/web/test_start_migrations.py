"""What a lifespan does about migrations."""

from pathlib import Path

import pytest
from sqlalchemy import MetaData, text

from fastapi_asyncdb import Database, create_lifespan
from fastapi_asyncdb.errors import ConfigurationError, SchemaNotMigrated
from tests.support.databases import EVERY_KIND, ONE_DRIVER
from tests.support.migration_project import MigrationProject, migration_project


@pytest.fixture
def project(tmp_path: Path, database_url: str) -> MigrationProject:
    """A project with one revision."""
    project = migration_project(tmp_path, database_url)
    project.table("one", None)
    return project


@pytest.mark.databases(*EVERY_KIND)
async def test_migrations_are_applied_at_start(project: MigrationProject):
    """The lifespan of the application comes after them; a second start finds nothing to do."""
    database = Database(project.settings())
    lifespan = create_lifespan(databases=[database], migrate=project.folder / "pyproject.toml")
    for _ in range(2):
        async with lifespan(None), database.session() as session:
            assert await session.scalar(text("SELECT count(*) FROM one")) == 0


async def test_schema_that_is_behind_is_not_served(project: MigrationProject):
    """The message has the command; after it the application starts."""
    database = Database(project.settings())
    file = project.folder / "pyproject.toml"
    lifespan = create_lifespan(databases=[database], require_migrated=file)
    with pytest.raises(SchemaNotMigrated, match="asyncdb upgrade"):
        async with lifespan(None):
            pytest.fail("it served")
    assert "not started" in repr(database)
    await database.upgrade(config=file)
    async with lifespan(None):
        pass


@pytest.mark.databases(*ONE_DRIVER)
async def test_each_of_several_databases_has_its_migrations(
    project: MigrationProject, tmp_path: Path
):
    """The line ``database`` says which table of the configuration belongs to which ``Database``."""
    project.write(
        f"{project.package}/db.py",
        f"""
        from fastapi_asyncdb import Database, DatabaseSettings

        users = Database(DatabaseSettings(url={project.url!r}))
        events = Database(DatabaseSettings(url="sqlite:///{tmp_path}/events.db"))
        """,
    )
    file = project.write(
        "pyproject.toml",
        f"""
        [tool.fastapi-asyncdb]
        database = "{project.package}.db:users"

        [tool.fastapi-asyncdb.databases.events]
        database = "{project.package}.db:events"
        migrations = "event_migrations"
        """,
    )
    path = project.table("event", None)
    (tmp_path / "event_migrations").mkdir()
    path.rename(tmp_path / "event_migrations" / path.name)
    db = project.migrator().config.load_database()
    module = __import__(f"{project.package}.db", fromlist=["users", "events"])
    assert db is module.users
    lifespan = create_lifespan(databases=[module.users, module.events], migrate=file)
    async with lifespan(None):
        for database, table in ((module.users, "one"), (module.events, "event")):
            async with database.read_session() as session:
                assert await session.scalar(text(f"SELECT count(*) FROM {table}")) == 0


def test_arguments_that_contradict_each_other():
    """Tables from models are in the way of revisions; migrations need a connection."""
    database = Database(metadata=MetaData())
    with pytest.raises(ConfigurationError, match="migrate or auto_create_tables"):
        create_lifespan(databases=[database], migrate=True, auto_create_tables=True)
    with pytest.raises(ConfigurationError, match="need a connection"):
        create_lifespan(require_connection=False, migrate=True)
    with pytest.raises(ConfigurationError, match="need a connection"):
        create_lifespan(require_connection=False, require_migrated=True)
