"""A worker's database is made with its tables, run whatever the handle's settings say, and removed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest
from pydantic import SecretStr
from sqlalchemy import text

from fastapi_asyncdb import Database, DatabaseSettings
from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.testing import DatabaseTemplate, isolated_database
from fastapi_asyncdb.testing.databases.settings import settings_for
from fastapi_asyncdb.testing.databases.temporary import empty_database
from fastapi_asyncdb.testing.databases.worker import WorkerDatabase
from fastapi_asyncdb.testing.databases.worker import worker_database as made_for
from fastapi_asyncdb.testing.servers.address import ServerAddress
from tests.support.application import Base, Note, stored
from tests.support.databases import ONE_DRIVER
from tests.testing.test_project import PROJECT

pytestmark = pytest.mark.databases(*ONE_DRIVER)

NOTES = replace(PROJECT, metadata=f"{Base.__module__}:Base.metadata", alembic="")


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest) -> SecretStr | None:
    """The server to make databases on; none for files."""
    url = SecretStr(request.getfixturevalue("worker_database"))
    return url if request.param == "postgresql" else None


async def test_it_has_the_tables_and_runs_on_this_loop(
    where: SecretStr | None, tmp_path: Path
) -> None:
    """The tables are made inside of a running event loop, and what is written stays for the next run."""
    with made_for(NOTES, where, tmp_path) as made:
        for expected in (["note"], ["note", "note"]):
            async with made.running() as running:
                database = Database(made.settings)
                async with database, database.session() as session:
                    session.add(Note(text="note"))
                async with running.session() as session:
                    rows = await session.scalars(text("SELECT text FROM note"))
                    assert list(rows) == expected


async def test_a_server_keeps_nothing(worker_database: str, tmp_path: Path) -> None:
    """Also when a test fails: the database is dropped, although clients are still connected."""
    connections = []
    server = SecretStr(worker_database)
    with pytest.raises(ZeroDivisionError), empty_database(server, tmp_path) as url:
        connections.append(await asyncpg.connect(url.get_secret_value()))
        raise ZeroDivisionError
    with pytest.raises(asyncpg.InvalidCatalogNameError):
        await asyncpg.connect(url.get_secret_value())
    connections[0].terminate()


def test_the_handle_s_settings_hold_except_for_where(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And a handle that reads DATABASE_* reads TEST_DATABASE_* instead."""
    handle = Database(DatabaseSettings(url="postgresql://db/shop", lock_timeout=7.0))
    settings = settings_for(SecretStr("sqlite:///x.db"), handle)
    assert (settings.lock_timeout, settings.environment) == (7.0, "test")
    (tmp_path / ".env").write_text("TEST_DATABASE_POOL_SIZE=2")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_POOL_SIZE", "1")
    monkeypatch.setenv("TEST_DATABASE_LOCK_TIMEOUT", "3")
    settings = settings_for(SecretStr("sqlite:///x.db"), Database())
    assert (settings.pool_size, settings.lock_timeout) == (5, 3.0)
    assert settings.url.get_secret_value() == "sqlite:///x.db"
    assert settings.environment == "test"


async def test_the_lifespan_s_own_settings_do_not_hold(database_url: str) -> None:
    """Nor the handle's: both name the database that the application has in production."""
    elsewhere = DatabaseSettings(url="postgresql://nobody@nowhere.invalid/production")
    handle = Database(elsewhere, metadata=Base.metadata)
    worker = WorkerDatabase(handle, settings_for(SecretStr(database_url), handle))
    async with worker.running():
        await handle.start(elsewhere, create_tables=Base.metadata)
        assert await stored(handle) == []
        await handle.stop()
    assert handle.settings is elsewhere
    assert repr(handle) == "<Database not started>"


async def test_no_other_handle_starts_on_the_developer_s_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A project that names the wrong handle would write there, and commit."""
    developers = tmp_path / "developers.db"
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{developers}")
    handle, other = Database(), Database()
    worker = WorkerDatabase(handle, settings_for(SecretStr(f"sqlite:///{tmp_path / 'test.db'}")))
    async with worker.running():
        with pytest.raises(ConfigurationError, match="asyncdb_database"):
            await other.start()
        await other.start(settings_for(SecretStr(f"sqlite:///{tmp_path / 'other.db'}")))
        async with other:
            assert "other.db" in repr(other)
        await other.stop()
    assert not developers.exists()
    async with other:
        assert developers.exists()


@pytest.mark.parametrize("place", ["the handle", "its start"])
async def test_no_other_handle_starts_on_a_database_that_is_not_said_to_be_for_tests(
    tmp_path: Path, place: str
) -> None:
    """An application with two handles starts both, the second on what its settings say."""
    real = DatabaseSettings(url=f"sqlite:///{tmp_path / 'real.db'}", environment="development")
    for_tests = real.model_copy(update={"environment": "test"})
    other = Database(real if place == "the handle" else None)
    worker = WorkerDatabase(Database(), settings_for(SecretStr("sqlite://")))
    async with worker.running():
        with pytest.raises(ConfigurationError, match='environment="test"'):
            await other.start(None if place == "the handle" else real)
        assert not (tmp_path / "real.db").exists()
        await other.start(for_tests)
        await other.stop()


async def test_another_handle_may_run_on_a_database_of_its_own(tmp_path: Path) -> None:
    """A copy of a template is for tests, whatever the handle has in its settings."""
    other = Database(DatabaseSettings(url=f"sqlite:///{tmp_path / 'real.db'}"))
    worker = WorkerDatabase(Database(), settings_for(SecretStr("sqlite://")))
    async with (
        worker.running(),
        DatabaseTemplate("sqlite://", metadata=Base.metadata) as template,
        isolated_database(other, template),
    ):
        assert await stored(other) == []
    assert not (tmp_path / "real.db").exists()


def test_an_address_leads_to_each_database() -> None:
    """With what follows the name; and its repr shows no password."""
    address = ServerAddress("postgresql://ada:secret@db:5433/app_test?sslmode=require")
    assert address.url() == "postgresql://ada:secret@db:5433/app_test?sslmode=require"
    assert address.url("x") == "postgresql://ada:secret@db:5433/x?sslmode=require"
    assert "secret" not in repr(address)
