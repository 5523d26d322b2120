"""A database that another package adds: ``tests/support/wiredb``, whose server is a PostgreSQL.

``make test-dialect`` runs the contract on it.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import asyncpg
import pytest
from alembic.ddl import impl
from fastapi import FastAPI
from sqlalchemy import create_engine, func, select, text
from sqlalchemy.dialects import registry as sqlalchemy_dialects
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from fastapi_asyncdb import (
    DB,
    Database,
    DatabaseSettings,
    FilterSet,
    ReadDB,
    Repository,
    RetryRoute,
    Search,
    advisory_lock,
    create_lifespan,
    install_error_handlers,
    register_dialect,
)
from fastapi_asyncdb.dialects import (
    MYSQL,
    POSTGRESQL,
    Backend,
    PostgreSQL,
    is_conflict,
    parse_url,
    registry,
)
from fastapi_asyncdb.errors import (
    ConfigurationError,
    MissingExtra,
    UnsupportedDriver,
)
from fastapi_asyncdb.models import utcnow
from fastapi_asyncdb.testing import DatabaseTemplate, async_client, sandbox
from tests.support.application import with_tables
from tests.support.databases import DERIVED
from tests.support.migration_project import migration_project
from tests.support.warm_python import ROOT, WarmPython

WIREDB = ROOT / "tests" / "support" / "wiredb"
pytestmark = pytest.mark.databases(*DERIVED)


class Base(DeclarativeBase):
    """Of the tables of these tests alone."""


class Wire(Base):
    """A table of the tests."""

    __tablename__ = "wire"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)


class WireFilters(FilterSet[Wire]):
    """A search, which is one of words where the database has none for texts."""

    search = Search(Wire.name)


MODELS = """
    from enum import Enum

    from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

    from fastapi_asyncdb import TimestampMixin


    class Base(DeclarativeBase):
        pass


    class Kind(Enum):
        ONE = 1


    class Wire(TimestampMixin, Base):
        __tablename__ = "wires"

        id: Mapped[int] = mapped_column(primary_key=True)
        kind: Mapped[Kind]
"""


@pytest.fixture
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Databases that a test registers are forgotten after it."""
    for name in ("_BACKENDS", "_BY_ERROR", "_BY_SCHEME"):
        monkeypatch.setattr(registry, name, getattr(registry, name).copy())
    monkeypatch.setattr(registry, "_installed", registry._installed.__wrapped__)


# --- The whole way --------------------------------------------------------------------------------


async def test_an_application(database_url: str, monkeypatch: pytest.MonkeyPatch):
    """DATABASE_URL alone is enough: dependencies, reads, retries and problems are those of any other."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    runs: list[int] = []
    app = FastAPI(lifespan=create_lifespan(metadata=Base.metadata, auto_create_tables=True))
    install_error_handlers(app)
    app.router.route_class = RetryRoute

    @app.post("/wires", status_code=201)
    async def create(name: str, db: DB) -> int:
        runs.append(1)
        wire = await Repository[Wire](db).create(name=name)
        if len(runs) == 1:
            await db.execute(text("DO $$ BEGIN RAISE 'busy' USING ERRCODE = 'WD001'; END $$"))
        return wire.id

    @app.get("/wires")
    async def count(db: ReadDB) -> int | None:
        return await db.scalar(select(func.count()).select_from(Wire))

    @app.delete("/wires")
    async def delete(db: ReadDB) -> None:
        await db.execute(text("DELETE FROM wire"))

    async with async_client(app) as client:
        assert (await client.post("/wires?name=a")).status_code == 201
        assert runs == [1, 1], "the code that only WireDB has was no conflict"
        answer = await client.post("/wires?name=a")
        assert (answer.status_code, answer.json()["constraint"]) == (409, "wire_name_key")
        assert (await client.delete("/wires")).status_code == 500
        assert (await client.get("/wires")).json() == 1


async def test_features_that_it_lacks(database_url: str):
    """They are refused, or something else takes their place, as the package says."""
    async with with_tables(database_url, Base.metadata) as database:
        with pytest.raises(ConfigurationError, match="WireDB has no deferrable transactions"):
            database.dependency(isolation_level="SERIALIZABLE", read_only=True, deferrable=True)
        async with database.session() as session:
            with pytest.raises(ConfigurationError, match="not supported on wiredb"):
                await advisory_lock(session, "key")
            assert await Repository[Wire](session).create_many(
                {"name": str(n)} for n in range(2000)
            )
        async with database.read_session() as session:
            shown = await session.scalar(text("SHOW idle_in_transaction_session_timeout"))
            names = await session.scalars(WireFilters(search="1 9").apply(select(Wire.name)))
            assert (shown, "19" in set(names)) == ("0", True)


async def test_migrations(tmp_path: Path, database_url: str, python: WarmPython):
    """Revisions are generated and applied; ``asyncdb upgrade`` needs no more than the URL."""
    project = migration_project(tmp_path, database_url, models=MODELS)
    path = await project.migrator().revision("first")
    assert path is not None
    assert 'if op.get_context().dialect.name == "wiredb":' in path.read_text()
    run = python.run(
        *("-m", "fastapi_asyncdb.cli", "upgrade"),
        cwd=tmp_path,
        env={**os.environ, "DATABASE_URL": database_url, "PYTHONPATH": f"{ROOT}:{WIREDB}"},
    )
    assert run.returncode == 0, run.stderr
    assert await project.migrator().differences() == []
    await project.migrator().downgrade("base")


async def test_a_database_that_alembic_does_not_know(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
):
    """The error says what the package lacks."""
    project = migration_project(tmp_path, database_url)
    parse_url(database_url)
    monkeypatch.delitem(impl._impls, "wiredb")
    with pytest.raises(ConfigurationError, match="class Impl") as caught:
        await project.migrator().revision("first")
    assert "'wiredb'" in str(caught.value)


async def test_sandboxes_and_copies(database_url: str):
    """A test is rolled back, and a database is copied, as on PostgreSQL."""
    async with with_tables(database_url, Base.metadata) as database:
        async with sandbox(database) as session:
            session.add(Wire(name="gone"))
            await session.commit()
        async with database.read_session() as session:
            assert list(await session.scalars(select(Wire.name))) == []
    async with (
        DatabaseTemplate(database_url, metadata=Base.metadata) as template,
        template.database() as copy,
        copy.session() as session,
    ):
        session.add(Wire(name="copied"))


def test_sql_of_the_library_is_that_of_the_family(database_url: str):
    """What is written for PostgreSQL by name is written for a database with its SQL as well."""
    engine = create_async_engine(database_url)
    assert registry.family_of(engine.dialect.name) == "postgresql"
    assert str(utcnow().compile(dialect=engine.dialect)) == "CURRENT_TIMESTAMP"


def test_synchronous_engines(database_url: str):
    """sqlalchemy_url() names a driver of the database, with its own scheme."""
    url = DatabaseSettings(url=database_url).sqlalchemy_url(driver="sync")
    engine = create_engine(url)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT 1")) == 1
    engine.dispose()
    assert url.drivername == "wiredb+psycopg"


# --- Registering ----------------------------------------------------------------------------------


def failure(state: str) -> Exception:
    """Return what a driver of PostgreSQL raises for an SQLSTATE."""
    error: Any = asyncpg.PostgresError()
    error.sqlstate = state
    return cast(Exception, error)


def backend(name: str = "newdb", **options: Any) -> Backend:
    """Return a database that nothing has registered."""
    return replace(POSTGRESQL, **{"name": name, "schemes": (), **options})


@pytest.mark.usefixtures("own_registry")
def test_registered_by_a_call():
    """Its URLs are read from then on, with its own schemes and drivers."""
    new = backend(schemes=("new",))
    with pytest.raises(UnsupportedDriver, match="the package that adds 'newdb'"):
        parse_url("newdb://host/app")
    register_dialect(new)
    register_dialect(replace(new))
    assert parse_url("new://host/app").url.drivername == "newdb+asyncpg"
    assert parse_url("newdb+psycopg://host/app").url.drivername == "newdb+psycopg"
    with pytest.raises(UnsupportedDriver, match=r"newdb\+asyncpg:// or newdb\+psycopg://"):
        parse_url("newdb+psycopg2://host/app")
    with pytest.raises(UnsupportedDriver, match="or newdb://"):
        parse_url("other://host/app")


@pytest.mark.usefixtures("own_registry")
def test_its_verdict_comes_before_that_of_its_family():
    """A package may know more errors than the database that it derives from; MySQL's stay MySQL's."""
    special = failure("NEW01")
    assert is_conflict(special) is False
    register_dialect(
        backend(
            is_conflict=lambda error: True if getattr(error, "sqlstate", "") == "NEW01" else None
        )
    )
    assert is_conflict(special) is True
    assert is_conflict(failure("40001")) is True
    assert registry._BY_ERROR[0] is MYSQL


class _Incomplete:
    """A preset that lacks most of it."""

    needs_ping = True


@pytest.mark.usefixtures("own_registry")
@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (backend(name="postgresql"), "postgresql:// are those of postgresql already"),
        (replace(POSTGRESQL, name="newdb"), "postgres:// are those of postgresql already"),
        (backend(preset=_Incomplete()), "lacks separate_readers, probe"),
        (backend(preset=None), "The preset of newdb lacks needs_ping"),
        (backend(drivers={}), "has no drivers"),
        (backend(name="newdb+asyncpg"), "'newdb\\+asyncpg' is no scheme"),
        (PostgreSQL(), "is no Backend"),
    ],
)
def test_what_cannot_be_registered(wrong: Any, words: str):
    """It is an error where it is registered, and changes nothing."""
    with pytest.raises(ConfigurationError, match=words):
        register_dialect(wrong)
    assert len(registry._BACKENDS) == len(registry._BY_ERROR) + 1


@pytest.mark.usefixtures("own_registry")
async def test_sqlalchemy_does_not_know_it():
    """The error says that a dialect of SQLAlchemy's is missing, and how to install it."""
    register_dialect(backend())
    with pytest.raises(MissingExtra, match=r"SQLAlchemy has no dialect for newdb\+asyncpg://"):
        await Database(DatabaseSettings(url="newdb://host/app")).start()


@pytest.mark.usefixtures("own_registry")
@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_sqlalchemy_has_it_by_another_name(driver: str, monkeypatch: pytest.MonkeyPatch):
    """A dialect that calls itself postgresql would be treated as PostgreSQL, so it is refused."""
    register_dialect(backend())
    known = {f"newdb.{driver}": sqlalchemy_dialects.impls.get(f"postgresql.{driver}")}
    monkeypatch.setattr(sqlalchemy_dialects, "impls", {**sqlalchemy_dialects.impls, **known})
    sqlalchemy_dialects.register(
        f"newdb.{driver}", f"sqlalchemy.dialects.postgresql.{driver}", "dialect"
    )
    with pytest.raises(ConfigurationError, match="name is 'postgresql', not 'newdb'"):
        await Database(DatabaseSettings(url=f"newdb+{driver}://host/app")).start()


@pytest.mark.usefixtures("own_registry")
@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("asyncdb_nowhere:BACKEND", "'asyncdb_nowhere:BACKEND' cannot be used: No module"),
        ("asyncdb_wiredb:WireDB", "'asyncdb_wiredb:WireDB' cannot be used: .*is no Backend"),
    ],
)
def test_entry_point_that_cannot_be_used(
    value: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The error names it, with the cause."""
    folder = tmp_path / "asyncdb_broken-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: asyncdb-broken\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(f"[{registry.ENTRY_POINTS}]\nbroken = {value}\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigurationError, match=words):
        parse_url("broken://host/app")
