"""The checks of migrations find what is wrong, and say which revision or table it is."""

from __future__ import annotations

import logging
import logging.config
import os
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import (
    ARRAY,
    Column,
    DateTime,
    Enum,
    FetchedValue,
    Integer,
    MetaData,
    String,
    Table,
    func,
)

from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.testing.migrations import Migrations
from fastapi_asyncdb.testing.migrations.commands import alembic_config
from fastapi_asyncdb.testing.migrations.reflection import changes
from tests.support.databases import COMPARED, ONE_DRIVER

pytestmark = pytest.mark.databases(*ONE_DRIVER)

_INI = """\
[alembic]
script_location = %(here)s/scripts
path_separator = os
[loggers]
keys = root
[handlers]
keys =
[formatters]
keys =
[logger_root]
level = ERROR
handlers =
"""
# Alembic's own template for async engines, with DATABASE_URL left out.
ENV = """\
import asyncio
import logging
from logging.config import fileConfig

from alembic import context
from sqlalchemy import pool
from sqlalchemy.ext.asyncio import create_async_engine

config = context.config
logging.getLogger().setLevel(logging.CRITICAL)
logging.getLogger().addHandler(logging.NullHandler())
if config.config_file_name is not None:
    fileConfig(config.config_file_name)

def run(connection):
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()

async def main():
    engine = create_async_engine(URL, poolclass=pool.NullPool)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(run)
    finally:
        await engine.dispose()

asyncio.run(main())
"""
URL = 'config.get_main_option("sqlalchemy.url")'
_FIRST = """\
def upgrade():
    op.create_table("items", sa.Column("id", sa.Integer, primary_key=True))
def downgrade():
    op.drop_table("items")
"""
_SECOND = """\
def upgrade():
    op.create_table("tags", sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(20), nullable=False))
def downgrade():
    op.drop_table("tags")
"""

Write = Callable[..., Migrations]


def _models() -> MetaData:
    metadata = MetaData()
    Table("items", metadata, Column("id", Integer, primary_key=True))
    tags = Column("id", Integer, primary_key=True), Column("name", String(20), nullable=False)
    Table("tags", metadata, *tags)
    return metadata


def _model(column: Column[Any]) -> MetaData:
    metadata = MetaData()
    Table("t", metadata, Column("id", Integer, primary_key=True), column)
    return metadata


def _table(column: str) -> str:
    table = f'op.create_table("t", sa.Column("id", sa.Integer, primary_key=True), {column})'
    return f"def upgrade():\n    {table}"


@pytest.fixture
def write(tmp_path: Path, database_url: str) -> Write:
    """Write revisions, each of which follows the one that its key names after the slash."""

    def write(
        revisions: dict[str, str],
        *,
        metadata: MetaData | None = None,
        url: str = URL,
        since: str | None = None,
    ) -> Migrations:
        write_scripts(tmp_path, ENV.replace("URL", url), revisions)
        secret = SecretStr(database_url)
        return Migrations(tmp_path / "alembic.ini", secret, metadata=metadata, since=since)

    return write


def write_scripts(folder: Path, env: str, revisions: dict[str, str]) -> None:
    """Write an alembic.ini and what it names."""
    versions = folder / "scripts" / "versions"
    versions.mkdir(parents=True)
    (folder / "alembic.ini").write_text(_INI)
    (folder / "scripts" / "env.py").write_text(env)
    for key, body in revisions.items():
        name, _, before = key.partition("/")
        follows = tuple(before.split(",")) if "," in before else before or None
        head = "import sqlalchemy as sa\nfrom alembic import op\n"
        head += f"revision = {name!r}\ndown_revision = {follows!r}\n"
        (versions / f"{name}_step.py").write_text(head + textwrap.dedent(body))


_CHECKS = ("check_heads", "check_upgrade", "check_models", "check_steps")


class _Handler(logging.NullHandler):
    was_closed = False

    def close(self) -> None:
        self.was_closed = True
        super().close()


@pytest.mark.parametrize("check", _CHECKS)
def test_good_migrations_pass(write: Write, check: str) -> None:
    """In the middle of a test, without a trace in logging or in the environment."""
    logger, root, handler = logging.getLogger("somebody.else"), logging.getLogger(), _Handler()
    before = (root.level, list(root.handlers), os.environ.get("DATABASE_URL"))
    getattr(write({"a": _FIRST, "b/a": _SECOND}, metadata=_models()), check)()
    assert not logger.disabled
    assert not handler.was_closed
    assert (root.level, root.handlers, os.environ.get("DATABASE_URL")) == before
    assert logging.config.fileConfig.__module__ == "logging.config"


async def test_they_run_inside_of_an_event_loop(write: Write) -> None:
    """Alembic's env.py calls asyncio.run."""
    write({"a": _FIRST, "b/a": _SECOND}).check_steps()


def test_a_branch_is_found(write: Write) -> None:
    """Both heads are named; and the steps are those of the whole."""
    migrations = write({"a": _FIRST, "b/a": _SECOND, "c/a": _SECOND.replace("tags", "labels")})
    with pytest.raises(AssertionError, match=r"2 heads: b, c\. .* 'alembic merge heads"):
        migrations.check_heads()
    migrations.check_steps()


def test_no_revision_at_all_is_found(write: Write) -> None:
    """A folder that is empty, or another one than was meant."""
    with pytest.raises(AssertionError, match="have 0 heads"):
        write({}).check_heads()


def test_a_merge_is_fine(write: Write) -> None:
    """Two branches that come together again have one head."""
    nothing = "def upgrade(): pass\ndef downgrade(): pass\n"
    third = _SECOND.replace("tags", "labels")
    migrations = write({"a": _FIRST, "b/a": _SECOND, "c/a": third, "d/b,c": nothing})
    migrations.check_heads()
    migrations.check_steps()
    migrations.check_upgrade()


def test_a_revision_that_fails_is_named(write: Write) -> None:
    """With the error of the database."""
    migrations = write({"a": _FIRST, "b/a": _FIRST})
    with pytest.raises(AssertionError, match=r"Revision b \(b_step.py\) fails .*already exists"):
        migrations.check_upgrade()


def test_a_model_without_a_revision_is_named(write: Write) -> None:
    """Tables, columns and what a column is: each has its line."""
    metadata = _models()
    Table("orders", metadata, Column("id", Integer, primary_key=True))
    metadata.tables["items"].append_column(Column("price", Integer))
    metadata.tables["tags"].c.name.nullable = True
    with pytest.raises(AssertionError) as caught:
        write({"a": _FIRST, "b/a": _SECOND}, metadata=metadata).check_models()
    assert str(caught.value).splitlines()[1:-1] == [
        "  table orders is only in the models",
        "  items: column price is only in the models",
        "  tags.name: nullable is False in the database, True in the models",
    ]


def test_unsafe_steps_are_named(write: Write) -> None:
    """With the place, what breaks, and the mark for those that are safe here."""
    unsafe = 'def upgrade():\n    op.drop_table("tags")\ndef downgrade():\n    raise ValueError'
    migrations = write({"a": _FIRST, "b/a": _SECOND, "c/b": unsafe}, metadata=_models(), since="b")
    with pytest.raises(AssertionError) as caught:
        migrations.check_safety()
    said = str(caught.value)
    assert said.startswith("1 steps of the migrations since b are unsafe:\n\nc_step.py:6: error: ")
    assert "The models still have what is dropped here: every query of the model for tags" in said
    assert said.endswith("# asyncdb: safe(RULE): the reason")


def test_revisions_before_are_not_looked_at(write: Write) -> None:
    """They have run; what is safe needs no mark."""
    unsafe = 'def upgrade():\n    op.drop_table("tags")\ndef downgrade():\n    raise ValueError'
    write({"a": _FIRST, "b/a": unsafe, "c/b": _SECOND}, since="b").check_safety()


def test_new_revisions_cannot_be_told_from_old_ones(write: Write) -> None:
    """Outside of a repository of git the configuration has to say which are new."""
    with pytest.raises(ConfigurationError, match=r"in no repository.*asyncdb_migrations_since = "):
        write({"a": _FIRST}).check_safety()


@pytest.mark.parametrize(
    ("models", "migrated", "words"),
    [
        pytest.param(
            _model(Column("x", Integer, nullable=False, server_default="1")),
            'sa.Column("x", sa.Integer, nullable=False)',
            r"t\.x: server default is only in the models",
            id="server default",
        ),
        pytest.param(
            _model(Column("x", Integer, primary_key=True)),
            'sa.Column("x", sa.Integer, nullable=False)',
            r"primary key is \['id'\] in the database, \['id', 'x'\] in the models",
            id="primary key",
        ),
        pytest.param(
            _model(Column("x", Integer, index=True)),
            'sa.Column("x", sa.Integer)',
            "index ix_t_x is only in the models",
            id="index",
        ),
        pytest.param(
            _model(Column("x", String(20))),
            'sa.Column("x", sa.String(10))',
            r"t\.x: type is VARCHAR\(length=10\) in the database",
            id="length",
        ),
        pytest.param(
            _model(Column("x", Integer, nullable=False)),
            'sa.Column("x", sa.Integer)',
            r"t\.x: nullable is True in the database",
            id="NOT NULL",
        ),
    ],
)
def test_what_a_revision_forgot_is_named(
    write: Write, models: MetaData, migrated: str, words: str
) -> None:
    """Tests on tables of the models would pass, and an INSERT fail in production."""
    with pytest.raises(AssertionError, match=words):
        write({"a": _table(migrated)}, metadata=models).check_models()


@pytest.mark.databases(*COMPARED)
def test_a_label_that_a_revision_forgot_is_named(write: Write, database_url: str) -> None:
    """Servers refuse a label that a type does not have; a column of SQLite takes any text."""
    kind: Enum = Enum("a", "b", name="kind")
    column = 'sa.Column("x", sa.Enum("a", name="kind"))'
    if database_url.startswith("mysql"):
        migrations = write({"a": _table(column)}, metadata=_model(Column("x", kind)))
        with pytest.raises(AssertionError, match=r"t\.x: type is ENUM\('a'\) in the database"):
            migrations.check_models()
    elif database_url.startswith("sqlite"):
        write({"a": _table(column)}, metadata=_model(Column("x", kind))).check_models()
    else:
        column = 'sa.Column("x", sa.ARRAY(sa.Enum("a", name="kind")))'
        migrations = write({"a": _table(column)}, metadata=_model(Column("x", ARRAY(kind))))
        with pytest.raises(AssertionError, match=r"t\.x: 'b' of kind is only in the models"):
            migrations.check_models()


@pytest.mark.parametrize(
    ("models", "migrated"),
    [
        (
            _model(Column("x", DateTime, server_default=func.now())),
            "server_default=sa.text('CURRENT_TIMESTAMP')",
        ),
        (_model(Column("x", DateTime, server_default=FetchedValue())), ""),
        (_model(Column("x", DateTime)), "server_default=sa.func.now()"),
    ],
    ids=["other words", "a trigger's", "of the migrations alone"],
)
def test_a_default_in_other_words_is_none_of_its_business(
    write: Write, models: MetaData, migrated: str
) -> None:
    """Databases rewrite defaults, and revisions that add a column to a full table need one."""
    body = _table(f'sa.Column("x", sa.DateTime, {migrated})')
    write({"a": body}, metadata=models).check_models()


def test_a_table_without_a_model_is_named(write: Write) -> None:
    """It is in the migrations only."""
    metadata = _models()
    metadata.remove(metadata.tables["tags"])
    with pytest.raises(AssertionError, match="table tags is only in the database"):
        write({"a": _FIRST, "b/a": _SECOND}, metadata=metadata).check_models()


def test_a_downgrade_that_leaves_something_is_named(write: Write) -> None:
    """It would fail at the next upgrade, in production."""
    lazy = _SECOND.replace('op.drop_table("tags")', "pass")
    with pytest.raises(AssertionError, match=r"Revision b .* does not undo(?s:.*)table tags is th"):
        write({"a": _FIRST, "b/a": lazy}).check_steps()


@pytest.mark.parametrize(
    ("upgrade", "words"),
    [
        ("op.create_index('ix_items', 'items', ['id'])", "table items: unexpected index ix_items"),
        ("op.execute('CREATE VIEW recent AS SELECT 1 AS id')", "views: unexpected recent"),
        ("op.execute('CREATE SEQUENCE numbers')", "sequences: unexpected numbers"),
    ],
    ids=["index", "view", "sequence"],
)
def test_what_a_downgrade_leaves_beside_tables_is_named(
    write: Write, database_url: str, upgrade: str, words: str
) -> None:
    """Of whatever kind it is; SQLite has no sequences."""
    if "SEQUENCE" in upgrade and database_url.startswith("sqlite"):
        upgrade, words = "op.create_table('numbers', sa.Column('id', sa.Integer))", "table numbers"
    body = f"def upgrade():\n    {upgrade}\ndef downgrade(): ..."
    with pytest.raises(AssertionError, match=words):
        write({"a": _FIRST, "b/a": body}).check_steps()


def test_what_a_downgrade_takes_along_is_named() -> None:
    """Both ways: a part that is missing, and one that has come instead."""
    wanted, found = {"table t": ["a", "b"]}, {"table t": ["b", "c"]}
    assert changes(wanted, found) == ["table t: missing a", "table t: unexpected c"]


def test_a_type_that_is_left_behind_is_named(write: Write, database_url: str) -> None:
    """PostgreSQL keeps the type of an enumeration when its table is dropped."""
    typed = _SECOND.replace("sa.String(20)", "sa.Enum('a', 'b', name='mood')")
    migrations = write({"a": _FIRST, "b/a": typed})
    if not database_url.startswith("postgresql"):
        migrations.check_steps()
    else:
        with pytest.raises(AssertionError, match=r"Revision b .*\n.*enums: unexpected mood"):
            migrations.check_steps()


def test_a_downgrade_that_fails_is_named(write: Write) -> None:
    """With the error of the database."""
    wrong = _SECOND.replace('op.drop_table("tags")', 'op.drop_table("tag")')
    with pytest.raises(
        AssertionError, match=r"Revision b \(b_step.py\): the downgrade fails: .*tag"
    ):
        write({"a": _FIRST, "b/a": wrong}).check_steps()


def test_an_upgrade_that_differs_the_second_time_is_named(write: Write, tmp_path: Path) -> None:
    """Because it looks at what is there, for example."""
    moody = f"""\
    from pathlib import Path
    MARK = Path({str(tmp_path / "mark")!r})
    def upgrade():
        op.create_table("more" if MARK.exists() else "tags", sa.Column("id", sa.Integer))
    def downgrade():
        op.drop_table("more" if MARK.exists() else "tags")
        MARK.touch()
    """
    with pytest.raises(AssertionError, match=r"(?s)Revision b .*another schema.*tags is missing"):
        write({"a": _FIRST, "b/a": moody}).check_steps()


def test_another_database_is_never_migrated(write: Write, tmp_path: Path) -> None:
    """An env.py with a URL of its own would migrate the developer's database."""
    developers = tmp_path / "developers.db"
    url = repr(f"sqlite+aiosqlite:///{developers}")
    with pytest.raises(
        ConfigurationError, match=r"not the test database: env\.py takes its URL from"
    ):
        write({"a": _FIRST}, url=url).check_upgrade()
    assert not developers.exists() or developers.stat().st_size == 0


def test_a_migration_may_read_the_environment(write: Write) -> None:
    """DATABASE_URL is the test database while the migrations run."""
    url = 'os.environ["DATABASE_URL"].replace("postgresql:", "postgresql+asyncpg:")'
    url = f'__import__("os").{url.removeprefix("os.")}.replace("sqlite:", "sqlite+aiosqlite:")'
    write({"a": _FIRST}, url=url).check_upgrade()


def test_an_env_py_that_is_not_asynchronous_keeps_its_driver(tmp_path: Path) -> None:
    """It takes sqlalchemy.url as it is, which an alembic.ini writes with twice the percent signs."""
    ini = tmp_path / "alembic.ini"
    ini.write_text(f"{_INI.splitlines()[0]}\nsqlalchemy.url = postgresql+psycopg2://db/app\n")
    config = alembic_config(ini, SecretStr("postgresql://ada:p%40w@test:5433/app_test"))
    wanted = "postgresql+psycopg2://ada:p%40w@test:5433/app_test"
    assert config.get_main_option("sqlalchemy.url") == wanted


def test_what_is_not_configured_is_said(write: Write) -> None:
    """The line that is missing, and what to write."""
    with pytest.raises(ConfigurationError, match=r"no line asyncdb_alembic\. Add it"):
        Migrations(None, SecretStr("sqlite:///x.db"))
    with pytest.raises(ConfigurationError, match="no line asyncdb_metadata"):
        write({"a": _FIRST}).check_models()
