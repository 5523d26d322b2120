"""The project that a command works on: its configuration, its migrations and its database."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from fastapi_asyncdb.cli.options import options_of

if TYPE_CHECKING:
    from fastapi_asyncdb.database import Database
    from fastapi_asyncdb.migrations import MigrationConfig, Migrator
    from fastapi_asyncdb.migrations.progress import Progress
    from fastapi_asyncdb.settings import DatabaseSettings

T = TypeVar("T")


def load_config(context: typer.Context) -> MigrationConfig:
    """Read the configuration of the database that the command is about; its code can be imported."""
    from fastapi_asyncdb.migrations import MigrationConfig

    options = options_of(context)
    config = MigrationConfig.load(options.database, file=options.config)
    config.extend_import_path()
    return config


def load_migrator(context: typer.Context, progress: Progress | None = None) -> Migrator:
    """Return the migrations of that database."""
    from fastapi_asyncdb.migrations import Migrator

    return Migrator(load_config(context), progress=progress)


def load_settings(config: MigrationConfig) -> DatabaseSettings:
    """Return the settings of the database: those of its ``Database``, or of the environment."""
    from fastapi_asyncdb.migrations.engines import configured_source

    return configured_source(config).settings


def load_database(config: MigrationConfig) -> Database[Any]:
    """Return the ``Database`` of the application."""
    from fastapi_asyncdb.database import Database

    reference = config.reference("database", config.database)
    found = reference.load()
    if isinstance(found, Database):
        return found
    raise reference.wrong(found, "the Database of your application")


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine; what it waits for is shown on the standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("fastapi_asyncdb")
    logger.addHandler(handler)
    logging.getLogger("fastapi_asyncdb.migrations.lock").setLevel(logging.INFO)
    try:
        return asyncio.run(work)
    finally:
        logger.removeHandler(handler)
