"""What ``env.py`` does: connects, configures Alembic, runs the command that has loaded it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from alembic import context
from alembic.config import Config
from alembic.ddl.impl import DefaultImpl
from alembic.util import CommandError
from sqlalchemy import Connection, Dialect, MetaData
from sqlalchemy.ext.asyncio import AsyncConnection

from fastapi_asyncdb.dialects import Backend, backend_of, parse_url
from fastapi_asyncdb.dialects.registry import backend_for
from fastapi_asyncdb.engine.engines import Engines
from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.migrations.config import MigrationConfig, config_beside
from fastapi_asyncdb.migrations.defaults import compare_defaults
from fastapi_asyncdb.migrations.directives import complete
from fastapi_asyncdb.migrations.engines import configured_source, migration_engines
from fastapi_asyncdb.migrations.failures import mark_autocommit_errors
from fastapi_asyncdb.migrations.lock import HeldLock, only_migrator
from fastapi_asyncdb.migrations.rendering import render_item
from fastapi_asyncdb.settings import DatabaseSettings

CONNECTION = "connection"
"""The key of ``Config.attributes`` for a connection that is handed in, as in Alembic's cookbook.
https://alembic.sqlalchemy.org/en/latest/cookbook.html#connection-sharing"""
AFTER_REVISION = "asyncdb.after_revision"
"""The key for a function that is called before each revision is committed."""


def run_env(*, metadata: MetaData | Sequence[MetaData] | None = None, **options: Any) -> None:
    """Run the command of Alembic that has loaded ``env.py``; the only call in that file.

    The database is that of ``DatabaseSettings``, the models are those of ``[tool.fastapi-asyncdb]``.
    A connection in ``config.attributes["connection"]`` is used instead of a new one. Logging is left
    as it is. Each revision is a transaction of its own.

    Args:
        metadata: The tables, instead of those of the configuration.
        **options: For Alembic's ``context.configure``; they override those of the library.

    Raises:
        ConfigurationError: the configuration or the settings are wrong.
        DatabaseUnavailable: there is no connection.
        MigrationError: another process holds the lock, or has taken it.
    """
    config = context.config
    _log_for_command_line(config)
    project = _project(config)
    tables = _tables(project, metadata)
    connection = config.attributes.get(CONNECTION)
    if context.is_offline_mode():
        _print(project, tables, options)
    elif connection is None:
        _without_loop(lambda: _connect_and_run(project, config, tables, options))
    elif isinstance(connection, Connection):
        _run(connection, config, tables, options)
    else:
        raise ConfigurationError(
            f"config.attributes['connection'] is a {type(connection).__name__}. Hand in the Connection "
            "that run_sync passes to a function: await connection.run_sync(upgrade)."
        )


@asynccontextmanager
async def locked_connection(
    engines: Engines, settings: DatabaseSettings, *, wait: float | None = None
) -> AsyncIterator[tuple[AsyncConnection, HeldLock]]:
    """Take the lock of the migrations, and open a connection for them."""
    async with (
        only_migrator(engines, settings, wait=wait) as lock,
        engines.write.connect() as connection,
    ):
        yield connection, lock


def _project(config: Config) -> MigrationConfig:
    """Return the configuration of the migrations that run."""
    known = config.attributes.get("asyncdb")
    if isinstance(known, MigrationConfig):
        return known
    return config_beside(Path(context.script.dir), config.config_ini_section)


def _log_for_command_line(config: Config) -> None:
    """Let Alembic's own command show the revisions that it runs; leave any other process alone."""
    if config.cmd_opts is not None and not config.messaging_opts.get("quiet"):
        logging.basicConfig(format="%(levelname)s [%(name)s] %(message)s")
        logging.getLogger("alembic.runtime.migration").setLevel(logging.INFO)


def _tables(
    project: MigrationConfig, metadata: MetaData | Sequence[MetaData] | None
) -> list[MetaData]:
    if metadata is None:
        return project.load_metadata()
    return [metadata] if isinstance(metadata, MetaData) else list(metadata)


def _without_loop(run: Callable[[], Any]) -> None:
    """Run a coroutine, also where the caller is called from an event loop that runs."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(run())
        return
    with ThreadPoolExecutor(1, "migrations") as executor:
        executor.submit(lambda: asyncio.run(run())).result()


async def _connect_and_run(
    project: MigrationConfig, config: Config, tables: list[MetaData], options: dict[str, Any]
) -> None:
    async with migration_engines(configured_source(project)) as (engines, settings):
        if not _changes_the_database():
            async with engines.write.connect() as connection:
                await connection.run_sync(_run, config, tables, options)
            return
        async with locked_connection(engines, settings) as (connection, lock):
            config.attributes[AFTER_REVISION] = lock.checked
            await connection.run_sync(_run, config, tables, options)


def _changes_the_database() -> bool:
    """Return whether the command is upgrade, downgrade or stamp: those have a target."""
    try:
        context.get_revision_argument()
    except KeyError:
        return False
    except CommandError:
        pass  # The command will say what is wrong with the target.
    return True


def _run(
    connection: Connection, config: Config, tables: list[MetaData], options: dict[str, Any]
) -> None:
    backend = backend_of(connection.dialect)
    _refuse_unknown(connection.dialect)
    if backend is not None:
        backend.migrations.prepare(connection)
    chosen = _merged(_defaults(backend, tables), options)
    if not _changes_the_database():
        # A command that looks creates no table of revisions.
        chosen["dont_mutate"] = True
    callbacks = [config.attributes.get(AFTER_REVISION), chosen.get("on_version_apply")]
    chosen["on_version_apply"] = list(_flat(callbacks))
    context.configure(connection=connection, **chosen)
    mark_autocommit_errors(context.get_context())
    compare_defaults(context.get_context(), backend.migrations if backend is not None else None)
    with context.begin_transaction():
        context.run_migrations()


def _refuse_unknown(dialect: Dialect) -> None:
    try:
        DefaultImpl.get_by_dialect(dialect)
    except KeyError:
        raise ConfigurationError(
            f"Alembic does not know the database {dialect.name!r}, so it cannot migrate it. The package "
            "that adds the database has to define a class for it: class Impl(PostgresqlImpl): "
            f"__dialect__ = {dialect.name!r}, for example."
        ) from None


def _print(project: MigrationConfig, tables: list[MetaData], options: dict[str, Any]) -> None:
    """Print the SQL instead of running it: ``alembic upgrade head --sql``."""
    settings = configured_source(project).settings
    url = parse_url(settings.migration_url or settings.url).url
    defaults = _defaults(backend_for(url.get_backend_name()), tables)
    offline = {"literal_binds": True, "dialect_opts": {"paramstyle": "named"}}
    context.configure(url=url, **defaults | offline | options)
    with context.begin_transaction():
        context.run_migrations()


def _defaults(backend: Backend | None, tables: list[MetaData]) -> dict[str, Any]:
    """Return the options of ``context.configure``."""
    return {
        "target_metadata": tables[0] if len(tables) == 1 else (tables or None),
        # Locks are released after each revision, and autocommit_block() needs it.
        "transaction_per_migration": True,
        "compare_type": True,
        "compare_server_default": True,
        "render_item": render_item,
        **_schemas(tables),
        **(backend.migrations.options if backend is not None else {}),
    }


def _merged(defaults: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Return both; the function that changes new revisions is called after the library's."""
    key = "process_revision_directives"
    steps = [complete, *(each[key] for each in (defaults, options) if each.get(key) is not None)]

    def process(*arguments: Any) -> None:
        for step in steps:
            step(*arguments)

    return defaults | options | {key: process}


def _schemas(tables: list[MetaData]) -> dict[str, Any]:
    """Return the options for tables in schemas; others of the database are not looked at."""
    schemas = {table.schema for each in tables for table in each.tables.values()}
    if not schemas - {None}:
        return {}

    def include_name(name: str | None, kind: str, parents: Any) -> bool:
        return kind != "schema" or name in schemas

    return {"include_schemas": True, "include_name": include_name}


def _flat(callbacks: Iterable[Any]) -> Iterator[Any]:
    """Yield functions from a list of functions, lists of functions, and ``None``."""
    for each in callbacks:
        if each is not None:
            yield from each if isinstance(each, Iterable) else [each]
