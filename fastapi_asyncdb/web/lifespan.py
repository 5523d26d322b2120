"""``create_lifespan``: starts and stops databases around an application's own lifespan."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from os import PathLike
from typing import Any

from sqlalchemy import MetaData

from fastapi_asyncdb.database import Database
from fastapi_asyncdb.default import default_database
from fastapi_asyncdb.engine.startup import refuse_tables_without_connection
from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.settings import DatabaseSettings
from fastapi_asyncdb.web.start_migrations import StartMigrations

# It yields state or None: FastAPI's types distinguish the two, and only the user knows which.
Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]


def create_lifespan(
    settings: DatabaseSettings | None = None,
    *,
    databases: Sequence[Database[Any]] | None = None,
    metadata: MetaData | None = None,
    auto_create_tables: bool = False,
    migrate: bool | str | PathLike[str] = False,
    require_migrated: bool | str | PathLike[str] = False,
    require_connection: bool = True,
    lifespan: Lifespan | None = None,
) -> Lifespan:
    """Make a lifespan for ``FastAPI(lifespan=...)`` or ``APIRouter(lifespan=...)``.

    Args:
        settings: For ``default_database``; ``None`` takes those that it was configured with, or reads
            ``DATABASE_*`` at start.
        databases: Several instead of ``default_database``. Started in this order, stopped in the
            opposite order; if one fails to start, those before it are stopped.
        metadata: The tables to create; by default those of each ``Database``.
        auto_create_tables: Create missing tables at start. For development only.
        migrate: Apply the migrations that each database lacks. Of several processes one does it, and the
            others wait. A path names the pyproject.toml or alembic.ini; ``True`` looks for it, as the
            command ``asyncdb upgrade`` does.
        require_migrated: Refuse to start while a database lacks a migration; a path as above.
        require_connection: ``False`` lets the application start while a database is down. Requests that
            need it are answered with 503 until it is there. Wrong settings stop the start all the same.
        lifespan: Your own lifespan. It runs inside: it may use the databases from its first line to
            its last, and what it yields is the application's state.

    Raises:
        ConfigurationError: ``settings`` together with ``databases``; tables to create and none named,
            or tables or migrations without a connection that is required; both of them.
    """
    started: list[Database[Any]] = [default_database] if databases is None else list(databases)
    if settings is not None and databases is not None:
        raise ConfigurationError(
            "create_lifespan takes settings or databases, not both: settings are for default_database. "
            "Give each Database its own settings: Database(settings)."
        )
    found = [tables for each in started if (tables := _tables(each, metadata)) is not None]
    if auto_create_tables and not found:
        raise ConfigurationError(
            "auto_create_tables needs to know the tables: create_lifespan(auto_create_tables=True, "
            "metadata=Base.metadata), or Database(metadata=Base.metadata)."
        )

    if auto_create_tables:
        refuse_tables_without_connection(found[0], require_connection=require_connection)

    migrations = StartMigrations(migrate, require_migrated)
    migrations.check(tables=auto_create_tables, require_connection=require_connection)

    @asynccontextmanager
    async def run(app: Any) -> AsyncIterator[Any]:
        async with AsyncExitStack() as stack:
            for each in started:
                tables = _tables(each, metadata) if auto_create_tables else None
                await each.start(
                    settings, create_tables=tables, require_connection=require_connection
                )
                stack.push_async_callback(each.stop)
                await migrations.run(each)
            yield await stack.enter_async_context(lifespan(app)) if lifespan else None

    return run


def _tables(database: Database[Any], metadata: MetaData | None) -> MetaData | None:
    return database.metadata if metadata is None else metadata
