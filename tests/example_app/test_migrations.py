"""Alembic in the example application."""

import asyncio
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, MetaData, insert, inspect, make_url, select, text

from example_app.models import Account, Post, User
from fastapi_asyncdb import Base, Database
from tests.example_app.conftest import ROOT
from tests.support.databases import COMPARED, ONE_DRIVER

pytestmark = pytest.mark.databases(*ONE_DRIVER)


def _with_connection(work: Callable[[Connection], Any]) -> Any:
    """Run the work on the database that the environment names."""

    async def run() -> Any:
        async with Database() as database, database.engine.begin() as connection:
            return await connection.run_sync(work)

    return asyncio.run(run())


def _tables() -> MetaData:
    """The example's tables alone, without those that other tests have declared on ``Base``."""
    metadata = MetaData(naming_convention=Base.metadata.naming_convention)
    for model in (User, Post, Account):
        Base.metadata.tables[model.__tablename__].to_metadata(metadata)
    return metadata


def _schema(connection: Connection) -> dict[str, Any]:
    """Everything there is, as the database tells it."""
    inspector = inspect(connection)
    return {
        table: [
            # In any order: a migration can only append.
            {
                column["name"]: {**column, "type": repr(column["type"])}
                for column in inspector.get_columns(table)
            },
            inspector.get_pk_constraint(table),
            inspector.get_foreign_keys(table),
            inspector.get_unique_constraints(table),
            inspector.get_check_constraints(table),
            inspector.get_indexes(table),
        ]
        for table in inspector.get_table_names()
        if table != "alembic_version"
    }


@pytest.mark.databases(*COMPARED)
def test_the_migrated_tables_are_those_of_the_models(alembic_config: Config) -> None:
    """Autogenerate finds nothing to do, and all names and constraints are the same."""
    command.upgrade(alembic_config, "head")
    assert _with_connection(_differences) == []
    migrated = _with_connection(_schema)
    assert migrated.keys() == {"users", "posts", "accounts"}
    command.downgrade(alembic_config, "base")
    _with_connection(_tables().create_all)
    assert migrated == _with_connection(_schema)


def _differences(connection: Connection) -> Any:
    options = {"target_metadata": _tables(), "compare_server_default": True}
    return compare_metadata(MigrationContext.configure(connection, opts=options), _tables())


def test_a_downgrade_leaves_nothing(alembic_config: Config) -> None:
    """Down to base and up again works, and base is empty."""
    command.upgrade(alembic_config, "head")
    command.downgrade(alembic_config, "base")
    assert _with_connection(_schema) == {}
    command.upgrade(alembic_config, "head")
    assert "users" in _with_connection(_schema)


def test_offline_mode_prints_the_sql(
    alembic_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For operators who run SQL by hand; no connection is opened."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://ada:50%25@nowhere.invalid/app")
    alembic_config.output_buffer = StringIO()
    command.upgrade(alembic_config, "head", sql=True)
    sql = alembic_config.output_buffer.getvalue()
    assert "created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL" in sql
    assert sql.rstrip().endswith("COMMIT;")


def test_migrations_leave_logging_as_it_is(alembic_config: Config) -> None:
    """An application that migrates at start goes on logging as before."""
    logger, handlers = logging.getLogger("somebody.else"), list(logging.getLogger().handlers)
    command.upgrade(alembic_config, "head")
    assert not logger.disabled
    assert logging.getLogger().handlers == handlers


@pytest.fixture
def role_url(postgres_url: str) -> Iterator[str]:
    """The PostgreSQL database as a user whose password no URL and no ini file takes as it is."""
    role = f"example_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
    _execute(postgres_url, f"CREATE ROLE {role} SUPERUSER LOGIN PASSWORD 'p%s@/:x'")
    url = make_url(postgres_url).set(username=role, password="p%s@/:x")
    yield url.render_as_string(hide_password=False)
    _execute(postgres_url, f"DROP OWNED BY {role}; DROP ROLE {role}")


def _execute(url: str, sql: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(sql)
        finally:
            await connection.close()

    asyncio.run(run())


def test_a_password_with_special_characters_survives(
    role_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Percent and at sign reach the server, since the URL never passes through the ini file."""
    monkeypatch.setenv("DATABASE_URL", role_url)
    command.upgrade(Config(ROOT / "example_app" / "alembic.ini"), "head")
    assert "users" in _with_connection(_schema)


_FURTHER_REVISION = '''\
"""A further revision."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0005", "0004"


def upgrade() -> None:
    with op.batch_alter_table("users") as users:
        users.alter_column("name", type_=sa.String(50), existing_type=sa.String(100))
'''


@pytest.fixture
def add_revision(alembic_config: Config, tmp_path: Path) -> Callable[[str], None]:
    """Add a revision to a copy of the migrations, which the configuration then points to."""

    def add(text: str) -> None:
        folder = tmp_path / "migrations"
        shutil.copytree(ROOT / "example_app" / "migrations", folder)
        (folder / "versions" / "0005_further.py").write_text(text)
        alembic_config.set_main_option("script_location", str(folder))

    return add


def test_altering_a_table_keeps_what_refers_to_it(
    alembic_config: Config, add_revision: Callable[[str], None]
) -> None:
    """On SQLite the table is copied and dropped; the rows that refer to it stay, and stay valid."""
    command.upgrade(alembic_config, "head")
    _with_connection(_add_an_account)
    add_revision(_FURTHER_REVISION)
    command.upgrade(alembic_config, "head")
    columns = {column["name"]: column["type"] for column in _with_connection(_user_columns)}
    assert columns["name"].length == 50
    assert _with_connection(_balances) == [7]


def test_posts_from_before_the_second_revision_are_as_new_ones(alembic_config: Config) -> None:
    """They have a version and a time of their last change, and compare like those that follow."""
    command.upgrade(alembic_config, "0001")
    _with_connection(_add_a_post)
    command.upgrade(alembic_config, "head")
    ((version, deleted_at, created_at, updated_at, same),) = _with_connection(_posts)
    assert (version, deleted_at) == (1, None)
    assert created_at == updated_at
    assert same
    command.downgrade(alembic_config, "0001")


def _add_a_post(connection: Connection) -> None:
    connection.execute(insert(User).values(id=1, name="Ada", email="ada@example.org"))
    connection.execute(text("INSERT INTO posts (author_id, title, body) VALUES (1, 'a', 'b')"))


def _posts(connection: Connection) -> Any:
    """Return each post, and whether the time that it has been read with finds it again."""
    created_at = connection.execute(select(Post.created_at)).scalar_one()
    columns = (Post.version, Post.deleted_at, Post.created_at, Post.updated_at)
    return connection.execute(select(*columns, Post.created_at == created_at)).all()


def _add_an_account(connection: Connection) -> None:
    connection.execute(insert(User).values(id=1, name="Ada", email="ada@example.org"))
    connection.execute(insert(Account).values(owner_id=1, balance=7))


def _user_columns(connection: Connection) -> Any:
    return inspect(connection).get_columns("users")


def _balances(connection: Connection) -> list[int]:
    return list(connection.scalars(select(Account.balance)))


@pytest.mark.databases(*ONE_DRIVER[:2])  # MySQL commits each change of the schema
def test_a_migration_that_fails_leaves_nothing_behind(
    alembic_config: Config, add_revision: Callable[[str], None]
) -> None:
    """Each revision is a transaction, on SQLite too; those before it stay."""
    command.upgrade(alembic_config, "head")
    before = _with_connection(_schema)
    add_revision(_FURTHER_REVISION + "    raise RuntimeError('half way')\n")
    with pytest.raises(RuntimeError, match="half way"):
        command.upgrade(alembic_config, "head")
    assert _with_connection(_schema) == before


def test_titles_from_before_the_third_revision_lose_their_spaces(alembic_config: Config) -> None:
    """The data of old rows is changed as that of new ones is checked."""
    command.upgrade(alembic_config, "0002")
    _with_connection(_add_a_post)
    _with_connection(lambda connection: connection.execute(text("UPDATE posts SET title = ' a '")))
    command.upgrade(alembic_config, "head")
    assert _with_connection(lambda connection: connection.scalar(select(Post.title))) == "a"
