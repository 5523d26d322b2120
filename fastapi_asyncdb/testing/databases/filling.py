"""Fills a new database for tests: its tables, and the rows that all tests start from."""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy import MetaData

from fastapi_asyncdb.database import Database
from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.settings import DatabaseSettings
from fastapi_asyncdb.testing.threads import run_async


def create_tables(settings: DatabaseSettings, metadata: MetaData) -> None:
    """Create the tables that are missing."""

    async def run() -> None:
        database = Database(settings)
        await database.start(create_tables=metadata)
        await database.stop()

    run_async(run)


def fill(
    database: Database[Any],
    settings: DatabaseSettings,
    seed: Callable[[Any], Awaitable[object]],
    name: str,
    *,
    has_tables: bool = True,
) -> None:
    """Run a function with a session, and commit: all tests see its rows.

    Args:
        database: The application's, which makes the session.
        settings: Of the database to fill.
        seed: An async function that takes a session.
        name: Where it is named, for the message.
        has_tables: Whether anything has created tables, for the message.

    Raises:
        ConfigurationError: it has failed; the message has the cause and its line.
    """

    async def run() -> None:
        async with database, database.session() as session:
            await seed(session)

    try:
        with database.override_settings(settings):
            run_async(run)
    except ConfigurationError:
        raise
    except Exception as error:
        step = "Correct the function."
        if not has_tables:
            step = "The database has no tables: name them in asyncdb_metadata or asyncdb_alembic."
        cause = getattr(error, "orig", None) or error
        raise ConfigurationError(
            f"{name} has failed {_line(error, seed)}, so that no test gets its database: "
            f"{type(error).__name__}: {str(cause).rstrip('.')}. Nothing of it is stored. {step}"
        ) from error


def _line(error: Exception, seed: Callable[..., object]) -> str:
    """Return the last line of the function's own file that ran, or the commit."""
    file = seed.__code__.co_filename if hasattr(seed, "__code__") else ""
    frames = [each for each in traceback.extract_tb(error.__traceback__) if each.filename == file]
    return f"at {frames[-1].filename}:{frames[-1].lineno}" if frames else "at its commit"
