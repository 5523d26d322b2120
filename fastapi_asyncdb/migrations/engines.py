"""The engines of migrations: two connections of their own, with their own timeouts, or their own URL."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from fastapi_asyncdb.credentials import PasswordFunction
from fastapi_asyncdb.dialects import Target, parse_url
from fastapi_asyncdb.engine.create import create_engines
from fastapi_asyncdb.engine.engines import Engines
from fastapi_asyncdb.engine.seam import runs_of
from fastapi_asyncdb.engine.startup import first_connection
from fastapi_asyncdb.finishing import finish
from fastapi_asyncdb.migrations.config import DEFAULT_DATABASE, MigrationConfig
from fastapi_asyncdb.settings import DatabaseSettings


@dataclass(frozen=True, slots=True)
class Source:
    """Where migrations connect to."""

    settings: DatabaseSettings
    password: PasswordFunction | None = None
    """Returns the password for a new connection."""
    target: Target | None = None
    """Of a ``Database`` that runs: its database may be in memory."""


def source_of(database: Any) -> Source:
    """Return where a ``Database`` connects to, as it runs or would be started."""
    settings, password, target = runs_of(database).connection()
    return Source(settings, password, target)


def configured_source(config: MigrationConfig) -> Source:
    """Return where the ``Database`` of a configuration connects to.

    Raises:
        ConfigurationError: the line ``database``, or the settings, are wrong.
    """
    if config.database == DEFAULT_DATABASE and "fastapi_asyncdb.default" not in sys.modules:
        # Its settings are those of the environment. A command needs no FastAPI, which takes long to
        # import.
        return Source(DatabaseSettings.load())
    return source_of(config.load_database())


@asynccontextmanager
async def migration_engines(source: Source) -> AsyncIterator[tuple[Engines, DatabaseSettings]]:
    """Open the engines of migrations; close them at the end.

    Yields:
        The engines, connected, and the settings that they were made from.

    Raises:
        DatabaseUnavailable: there is no connection within ``startup_timeout`` seconds.
    """
    source = _for_migrations(source)
    engines = create_engines(source.settings, source.password, target=source.target)
    try:
        await first_connection(engines, source.settings, required=True)
        yield engines, source.settings
    finally:
        await finish(engines.dispose())


def _for_migrations(source: Source) -> Source:
    settings = source.settings
    changed: dict[str, Any] = {
        # One for the lock.
        "pool_size": 2,
        "max_overflow": 0,
        "max_waiting": None,
        "lock_timeout": settings.migration_lock_timeout,
        "statement_timeout": settings.migration_statement_timeout,
        # A revision may compute for a while between two statements.
        "idle_in_transaction_timeout": 0.0,
        "hold_warning": 0.0,
    }
    url = settings.migration_url
    if url is None:
        return replace(source, settings=settings.model_copy(update=changed))
    changed |= {"url": url, "pgbouncer": None}
    has_password = parse_url(url).url.password is not None
    return Source(settings.model_copy(update=changed), None if has_password else source.password)
