"""The command ``reset``: an empty database with all tables, for development."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fastapi_asyncdb.cli.console import confirm, say
from fastapi_asyncdb.cli.ping import describe
from fastapi_asyncdb.cli.project import load_migrator, load_settings, run

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from fastapi_asyncdb.migrations import Migrator
    from fastapi_asyncdb.settings import DatabaseSettings

_ALLOWED = ("development", "test")


def reset(
    context: typer.Context,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Drop all tables and run all revisions; for development, on this machine only."""
    migrator = load_migrator(context)
    settings = load_settings(migrator.config)
    _refuse(settings)
    _refuse_another_database(migrator)
    confirm(f"Drop all tables of {describe(settings)}, with what is in them?", yes=yes)
    run(_reset(migrator))
    say(f"{describe(settings)} has empty tables of all revisions.")


def _refuse(settings: DatabaseSettings) -> None:
    from fastapi_asyncdb.dialects import parse_url
    from fastapi_asyncdb.errors import ConfigurationError

    urls = [url for url in (settings.url, settings.migration_url) if url is not None]
    if settings.environment not in _ALLOWED:
        reason = f"DATABASE_ENVIRONMENT is {settings.environment}"
    elif not all(parse_url(url).is_local for url in urls):
        reason = "the database is on another machine"
    else:
        return
    raise ConfigurationError(
        f"reset drops every table, and {reason}. It works in development and test, on this machine. "
        "If the tables have to go, drop them with the database's own client."
    )


def _refuse_another_database(migrator: Migrator) -> None:
    from fastapi_asyncdb.errors import ConfigurationError

    if migrator.connects_itself:
        raise ConfigurationError(
            "reset drops the tables of DATABASE_URL, and env.py connects by itself, perhaps to another "
            "database. Replace it with 'from fastapi_asyncdb.migrations import "
            "run_env; run_env()', or let it take the connection in config.attributes."
        )


async def _reset(migrator: Migrator) -> None:
    from fastapi_asyncdb.migrations.engines import configured_source, migration_engines
    from fastapi_asyncdb.migrations.environment import locked_connection

    source = configured_source(migrator.config)
    schemas = {
        table.schema for each in migrator.config.load_metadata() for table in each.tables.values()
    }
    async with (
        migration_engines(source) as (engines, settings),
        locked_connection(engines, settings) as (connection, _),
    ):
        await connection.run_sync(_drop_everything, {None, *schemas})
        await connection.commit()
    await migrator.upgrade("heads")


def _drop_everything(connection: Connection, schemas: set[str | None]) -> None:
    """Drop the views, tables and enumerations of schemas."""
    from sqlalchemy import MetaData, inspect
    from sqlalchemy.dialects.postgresql.base import PGInspector

    inspector = inspect(connection)
    for schema in schemas & {None, *inspector.get_schema_names()}:
        for view in inspector.get_view_names(schema):
            _drop(connection, "VIEW", schema, view)
        if isinstance(inspector, PGInspector):
            for view in inspector.get_materialized_view_names(schema):
                _drop(connection, "MATERIALIZED VIEW", schema, view)
        tables = MetaData()
        tables.reflect(connection, schema=schema)
        tables.drop_all(connection)
        if isinstance(inspector, PGInspector):
            for enum in inspector.get_enums(schema):
                _drop(connection, "TYPE", schema, enum["name"])


def _drop(connection: Connection, kind: str, schema: str | None, name: str) -> None:
    from sqlalchemy import DDL

    from fastapi_asyncdb.dialects.registry import family_of

    quote = connection.dialect.identifier_preparer.quote
    full_name = f"{quote(schema)}.{quote(name)}" if schema else quote(name)
    # Views may depend on each other.
    cascade = " CASCADE" if family_of(connection.dialect.name) == "postgresql" else ""
    statement = f"DROP {kind} IF EXISTS {full_name}{cascade}"
    connection.execute(DDL(statement.replace("%", "%%")))  # type: ignore[no-untyped-call]
