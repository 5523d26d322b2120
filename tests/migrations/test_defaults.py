"""Server defaults: autogenerate compares them, and finds no differences that are none."""

import textwrap
from pathlib import Path

import pytest
from sqlalchemy import text

from fastapi_asyncdb import Database
from tests.support.databases import COMPARED
from tests.support.migration_project import MigrationProject, migration_project

HEAD = """
    import enum
    import sqlalchemy as sa
    from sqlalchemy.dialects import mysql, postgresql
    from sqlalchemy.orm import DeclarativeBase

    from fastapi_asyncdb.models import utcnow


    class Status(enum.Enum):
        NEW = "new"


    class Base(DeclarativeBase):
        pass


    class Row(Base):
        __tablename__ = "rows"

        id = sa.Column(sa.Integer, primary_key=True)
"""
ANYWHERE = {
    "Boolean": ["sa.true()", "sa.false()", "'1'", "sa.text('true')", "sa.text('FALSE')"],
    "Integer": [
        "'0'",
        "'-1'",
        "sa.text('0')",
        "sa.text('-1')",
        "sa.text('(1 + 2)')",
        "sa.literal(7)",
    ],
    "BigInteger": ["'0'", "sa.text('0')"],
    "SmallInteger": ["'-3'", "sa.text('3')"],
    "Numeric(10, 2)": ["'0'", "'1.50'", "sa.text('0')", "sa.text('1.50')", "sa.text('-0.5')"],
    "Float": ["'0'", "'1.5'", "sa.text('0')", "sa.text('1.5')", "sa.text('1e3')"],
    "String(50)": [
        "''",
        "'x'",
        "'1'",
        "'it\\'s'",
        "'a%:b'",
        "'NULL'",
        "'x::text'",
        "sa.text(\"''\")",
        "sa.text(\"'x'\")",
    ],
    "Text": ["'x'", "'(x)'", "sa.text(\"'x'\")"],
    "DateTime": ["sa.func.now()", "sa.text('CURRENT_TIMESTAMP')", "'2024-01-01 00:00:00'"],
    "DateTime(timezone=True)": ["sa.func.now()", "sa.text('CURRENT_TIMESTAMP')", "utcnow()"],
    "Date": ["sa.text('CURRENT_DATE')", "sa.func.current_date()", "'2024-01-01'"],
    "Time": ["sa.text('CURRENT_TIME')", "'12:00:00'"],
    "JSON": ["'{}'", "'[]'", "sa.text(\"'{}'\")", "'{\"a\": 1}'", "'null'"],
    "Enum(Status)": ["'NEW'", "sa.text(\"'NEW'\")"],
    "Enum(Status, native_enum=False)": ["'NEW'"],
    "Uuid": ["'6b1f6c2e-9d0f-4a53-8f0e-000000000001'"],
    "LargeBinary": ["sa.text(\"''\")"],
    "Interval": [],
}
SQLITE = {
    "String(40)": [
        "sa.text('(lower(hex(randomblob(4))))')",
        "sa.func.datetime('now')",
        "sa.text(\"('a' || 'b')\")",
    ]
}
POSTGRESQL = {
    "DateTime": ["sa.text('now()')", "sa.text(\"timezone('utc', now())\")"],
    "DateTime(timezone=True)": ["sa.text('now()')", "sa.text('clock_timestamp()')"],
    "Interval": ["'1 day'", "sa.text(\"'1 day'\")", "sa.text(\"interval '36 hours'\")"],
    "Uuid": ["sa.func.gen_random_uuid()", "sa.text('gen_random_uuid()')"],
    "Boolean": ["'t'", "'false'"],
    "String(40)": [
        "sa.func.current_user()",
        "sa.text('CURRENT_USER')",
        "sa.text(\"'x'::varchar\")",
    ],
    "Text": ["sa.text(\"'a' || 'b'\")", "sa.text(\"lower('X')\")"],
    "Date": ["sa.text(\"now() + interval '1 day'\")"],
    "Enum(Status)": ["sa.text(\"'NEW'::status\")"],
    "Integer": ["sa.text(\"nextval('numbers')\")", "sa.text('1::integer')"],
}
MYSQL = {
    "DateTime": ["sa.text('now()')", "sa.text('current_timestamp()')"],
    "String(40)": ["sa.text('(uuid())')", "sa.text(\"('x')\")"],
    "Boolean": ["'0'", "sa.text('1')"],
    "Numeric(4, 1)": ["'2'", "sa.text('2.50')"],
    "Float": ["'1.50'"],
}
MYSQL_TYPES = {
    "TIMESTAMP(fsp=6)": ["sa.text('CURRENT_TIMESTAMP(6)')", "sa.text('NOW(6)')"],
    "DATETIME(fsp=3)": [
        "sa.text('CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3)')",
        "sa.text('now(3)')",
    ],
    "TIMESTAMP()": ["sa.text('CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP')"],
    "TINYINT(1)": ["'1'"],
    "TINYINT(unsigned=True)": ["'1'"],
    "BIGINT(unsigned=True)": ["'0'", "sa.text('0')"],
    "ENUM('a', 'b')": ["'a'"],
    "SET('a', 'b')": ["'a,b'"],
    "DOUBLE()": ["'1.5'"],
    "DECIMAL(10, 2)": ["'1.5'"],
    "JSON()": ["sa.text('(json_object())')"],
    "VARCHAR(20, charset='latin1')": ["'x'"],
    "VARCHAR(20, collation='utf8mb4_bin')": ["'x'"],
    "MEDIUMTEXT()": [],
    "LONGTEXT()": ["'x'"],
    "YEAR()": ["'2024'"],
}
POSTGRESQL_TYPES = {
    "JSONB": ["'{}'", "sa.text(\"'{}'\")", "sa.text(\"'{}'::jsonb\")", '\'{"b": 1, "a": 2}\''],
    "ARRAY(sa.Integer)": ["'{}'", "sa.text(\"'{}'\")", "sa.text('ARRAY[]::integer[]')"],
    "ARRAY(sa.Text)": ["'{}'", "sa.text(\"'{a,b}'::text[]\")"],
    "INET": ["'127.0.0.1'"],
}


def columns(*tables: dict[str, list[str]], of: str = "sa") -> str:
    """Return the lines of a model: one column for each default."""
    pairs = [(kind, default) for table in tables for kind in table for default in table[kind]]
    return "\n".join(
        f"    {of[0]}_{number} = sa.Column({of}.{kind}, server_default={default})"
        for number, (kind, default) in enumerate(pairs)
    )


def with_columns(folder: Path, url: str) -> MigrationProject:
    """Write a project whose model has a column for each default that its database can have."""
    name = url.partition(":")[0].partition("+")[0]
    lines = columns(ANYWHERE, {"sqlite": SQLITE, "mysql": MYSQL}.get(name, POSTGRESQL))
    if name == "mysql":
        lines += "\n" + columns(MYSQL_TYPES, of="mysql")
    elif name == "postgresql":
        lines += "\n" + columns(POSTGRESQL_TYPES, of="postgresql")
        lines += "\n    identity = sa.Column(sa.Integer, sa.Identity(start=5))"
    lines += "\n    computed = sa.Column(sa.Integer, sa.Computed('id * 2 + 1'))"
    return migration_project(folder, url, models=textwrap.dedent(HEAD) + lines + "\n")


def changed(project: MigrationProject, models: str) -> MigrationProject:
    """Return the project with other models, under another name: the first ones are imported already."""
    package = f"{project.package}_changed"
    project.write(f"{package}/__init__.py", "")
    project.write(f"{package}/models.py", models)
    project.write("pyproject.toml", f'[tool.fastapi-asyncdb]\nmetadata = "{package}.models"')
    return project


@pytest.mark.databases(*COMPARED)
async def test_no_false_differences(tmp_path: Path, database_url: str):
    """What a revision has made from the models is what the models have."""
    project = with_columns(tmp_path, database_url)
    if database_url.startswith("postgresql"):
        project.revision("zero", None, "op.execute('CREATE SEQUENCE numbers')")
        await project.migrator().upgrade()
    await project.migrator().revision("first")
    await project.migrator().upgrade()
    assert await project.migrator().differences() == []
    assert await project.migrator().revision("second") is None


CHANGES = {
    ("Boolean", "sa.true()"): "sa.false()",
    ("Integer", "'0'"): "'1'",
    ("Numeric(10, 2)", "'1.50'"): "'1.55'",
    ("String(50)", "'x'"): "'X'",
    ("Text", "'lower(x)'"): "'Lower(x)'",
    ("JSON", "'{}'"): "'[]'",
    ("DateTime", "sa.func.now()"): "'2024-01-01 00:00:00'",
    ("Enum(Status, native_enum=False)", "'NEW'"): "None",
}


async def test_real_differences(tmp_path: Path, database_url: str):
    """A default that a model changed is found; the message shows both."""
    lines = [
        [
            f"    c_{n} = sa.Column(sa.{kind}, server_default={value})"
            for n, (kind, value) in enumerate(each)
        ]
        for each in (CHANGES, [(kind, new) for (kind, _), new in CHANGES.items()])
    ]
    before, after = (textwrap.dedent(HEAD) + "\n".join(each) + "\n" for each in lines)
    project = migration_project(tmp_path, database_url, models=before)
    await project.migrator().revision("first")
    await project.migrator().upgrade()
    found = await changed(project, after).migrator().differences()
    assert len(found) == len(CHANGES)
    assert "rows.c_0: default is" in found[0]
    assert found[-1].endswith("None in the models")


@pytest.mark.databases("postgresql-asyncpg")
async def test_comparing_takes_no_number_of_a_sequence(tmp_path: Path, database_url: str):
    """Two different expressions are computed by the server, which is not allowed to write."""
    lines = "    c = sa.Column(sa.Integer, server_default=sa.text(\"nextval('{}')\"))\n"
    before, after = (textwrap.dedent(HEAD) + lines.format(name) for name in ("one", "two"))
    project = migration_project(tmp_path, database_url, models=before)
    project.revision("zero", None, "for n in 'one', 'two': op.execute(f'CREATE SEQUENCE {n}')")
    await project.migrator().upgrade()
    await project.migrator().revision("first")
    await project.migrator().upgrade()
    assert len(await changed(project, after).migrator().differences()) == 1
    async with Database(project.settings()) as database, database.session() as session:
        assert await session.scalar(text("SELECT nextval('two')")) == 1
        assert await session.scalar(text("SELECT nextval('one')")) == 1
