"""The rows that all tests start from: added once, seen in each sandbox and in each copy."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from anyio.from_thread import start_blocking_portal
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import Database
from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.testing import sandbox, sync_sandbox, temporary_database
from fastapi_asyncdb.testing.databases.worker import worker_copies, worker_database
from tests.support.application import Base, Note, stored
from tests.support.databases import ONE_DRIVER
from tests.testing.test_project import PROJECT

pytestmark = pytest.mark.databases(*ONE_DRIVER)

database: Database = Database(metadata=Base.metadata)
runs: list[None] = []


async def seed(session: AsyncSession) -> None:
    """Add a row, and count."""
    runs.append(None)
    session.add(Note(text="seeded"))


async def fail(session: AsyncSession) -> None:
    """Send what the database refuses."""
    session.add(Note(text="seeded"))
    await session.execute(text("SELECT missing"))


def not_async(session: AsyncSession) -> None:
    """Is no coroutine function."""


SEEDED = replace(
    PROJECT,
    database=f"{__name__}:database",
    metadata="",
    alembic="",
    seed=f"{__name__}:seed",
)


@pytest.fixture
def server(database_url: str) -> SecretStr | None:
    """Where to make databases; ``None`` for files."""
    return None if database_url.startswith("sqlite") else SecretStr(database_url)


@pytest.fixture(autouse=True)
def _none_yet() -> Iterator[None]:
    runs.clear()
    yield
    assert not database.settings


async def test_rows_are_in_each_sandbox(server: SecretStr | None, tmp_path: Path) -> None:
    """What one test does to them is undone for the next; the function runs once."""
    with worker_database(SEEDED, server, tmp_path) as worker:
        for _ in range(2):
            async with worker.running(), sandbox(database) as session:
                assert await stored(database) == ["seeded"]
                session.add(Note(text="new"))
                await session.commit()
    assert len(runs) == 1


def test_rows_are_in_each_copy(server: SecretStr | None) -> None:
    """A copy has real commits, which the next one does not have; the function runs once."""

    async def commit() -> None:
        async with database:
            assert await stored(database) == ["seeded"]
            async with database.session() as session:
                session.add(Note(text="new"))

    with worker_copies(SEEDED, server) as copies:
        for _ in range(2):
            with copies.copy() as copy, copy.configured():
                asyncio.run(commit())
    assert len(runs) == 1


@pytest.mark.parametrize("again", [1, 2])
def test_temporary_database_without_pytest(database_url: str, again: int) -> None:
    """Tables and rows are there on each event loop, and a sandbox in another thread is rolled back."""
    with temporary_database(database, database_url, seed=seed):
        for _ in range(2):
            with (
                sync_sandbox(database) as sync,
                start_blocking_portal() as portal,
                portal.wrap_async_context_manager(database),
            ):
                assert portal.call(stored, database) == ["seeded"]
                sync.run(seed)
                assert portal.call(stored, database) == ["seeded", "seeded"]
    assert len(runs) == 3


@pytest.mark.databases("sqlite")
def test_failure_names_the_line(server: SecretStr | None, tmp_path: Path) -> None:
    """The function's own, with the cause; and what is missing if there are no tables at all."""
    failing = replace(SEEDED, seed=f"{__name__}:fail")
    line = fail.__code__.co_firstlineno + 3
    with (
        pytest.raises(ConfigurationError) as failed,
        worker_database(failing, server, tmp_path),
    ):
        pass
    said = str(failed.value)
    assert (
        f"asyncdb_seed = '{__name__}:fail' in pyproject.toml has failed at {__file__}:{line}"
        in said
    )
    assert "OperationalError: no such column: missing" in said
    bare = replace(SEEDED, database=f"{__name__}:without_tables", file=tmp_path / "pytest.ini")
    with (
        pytest.raises(ConfigurationError, match="name them in asyncdb_metadata"),
        worker_database(bare, server, tmp_path),
    ):
        pass


without_tables: Database = Database()


@pytest.mark.databases("sqlite")
def test_function_has_to_be_async(server: SecretStr | None, tmp_path: Path) -> None:
    """The message names the line."""
    with (
        pytest.raises(ConfigurationError, match="Name an async function that takes a session"),
        worker_database(replace(SEEDED, seed=f"{__name__}:not_async"), server, tmp_path),
    ):
        pass
