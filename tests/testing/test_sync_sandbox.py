"""sync_sandbox opens when another thread's event loop starts the handle, and ends with its last stop."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from sqlalchemy import MetaData
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import Database, DatabaseSettings
from fastapi_asyncdb.errors import CannotConnect, ConfigurationError, SandboxError
from fastapi_asyncdb.testing import sync_sandbox
from tests.support.application import Base, Note, stored
from tests.support.databases import ONE_DRIVER

pytestmark = pytest.mark.databases(*ONE_DRIVER)


@pytest.fixture
def tables() -> MetaData:
    """The tables of ``handle``."""
    return Base.metadata


@pytest.fixture
def handle(database_url: str, missing_tables: MetaData | None) -> Database:
    """A handle on a database with empty tables, which does not run."""
    handle = Database(DatabaseSettings(url=database_url))
    if missing_tables is not None:
        with start_blocking_portal() as portal:
            portal.call(lambda: handle.start(create_tables=missing_tables))
            portal.call(handle.stop)
    return handle


@pytest.fixture
def portal() -> Iterator[BlockingPortal]:
    """An event loop in another thread, as TestClient has it."""
    with start_blocking_portal() as portal:
        yield portal


async def add(session: AsyncSession, *words: str) -> int:
    """Add rows, and return how many."""
    session.add_all([Note(text=word) for word in words])
    return len(words)


def test_everything_is_rolled_back_with_the_last_stop(
    handle: Database, portal: BlockingPortal
) -> None:
    """A lifespan may start the handle more than once; the sandbox goes with the last stop."""
    with sync_sandbox(handle) as sync, portal.wrap_async_context_manager(handle):
        with portal.wrap_async_context_manager(handle):
            assert sync.run(add, "one", "two") == 2
        assert portal.call(stored, handle) == ["one", "two"]
    with portal.wrap_async_context_manager(handle):
        assert portal.call(stored, handle) == []
    assert repr(handle) == "<Database not started>"


def test_a_failed_function_is_rolled_back(handle: Database, portal: BlockingPortal) -> None:
    """Its own work only; the error reaches the test."""

    async def fail(session: AsyncSession) -> None:
        await add(session, "never")
        raise ZeroDivisionError

    with sync_sandbox(handle) as sync, portal.wrap_async_context_manager(handle):
        sync.run(add, "kept")
        with pytest.raises(ZeroDivisionError):
            sync.run(fail)
        assert portal.call(stored, handle) == ["kept"]


@pytest.mark.databases("sqlite")
def test_run_needs_an_application_in_another_thread(
    handle: Database, portal: BlockingPortal
) -> None:
    """Before the lifespan there is no loop, and on the loop itself it would wait for ever."""

    async def on_the_loop() -> None:
        sync.run(add, "never")

    with sync_sandbox(handle) as sync:
        with pytest.raises(SandboxError, match="The application does not run"):
            sync.run(add, "never")
        with (
            portal.wrap_async_context_manager(handle),
            pytest.raises(SandboxError, match="would wait for itself"),
        ):
            portal.call(on_the_loop)
        with pytest.raises(SandboxError, match="The application does not run"):
            sync.run(add, "never")


@pytest.mark.databases("sqlite")
def test_order_and_number_of_loops(handle: Database, portal: BlockingPortal) -> None:
    """The sandbox comes before the start, and one event loop at a time has it."""
    with (
        portal.wrap_async_context_manager(handle),
        pytest.raises(ConfigurationError, match="before the application's lifespan"),
        sync_sandbox(handle),
    ):
        pass
    with (
        sync_sandbox(handle),
        portal.wrap_async_context_manager(handle),
        start_blocking_portal() as other,
        pytest.raises(SandboxError, match="asyncdb_test_client"),
    ):
        other.call(handle.start)


@pytest.mark.databases("sqlite")
def test_what_fails_leaves_nothing_started(portal: BlockingPortal) -> None:
    """A start without its sandbox would commit: it fails, and closes what it has opened."""
    handle = Database(DatabaseSettings(url="sqlite:////nowhere/test.db"))
    with sync_sandbox(handle), pytest.raises(CannotConnect):
        portal.call(lambda: handle.start(require_connection=False))
    assert repr(handle) == "<Database not started>"
