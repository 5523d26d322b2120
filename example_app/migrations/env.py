"""Run migrations on the application's database: same settings, same engine, same models."""

import asyncio
import logging

from alembic import context
from sqlalchemy import Connection

from example_app import models  # noqa: F401 - fills Base.metadata
from fastapi_asyncdb import Base, Database, DatabaseSettings
from fastapi_asyncdb.dialects import parse_url

# For the command line; a logging configuration that exists already is kept.
logging.basicConfig(format="%(levelname)s [%(name)s] %(message)s")
logging.getLogger("alembic.runtime.migration").setLevel(logging.INFO)


async def migrate() -> None:
    """Upgrade or downgrade the database to the revision that the command names."""
    async with Database() as database, database.engine.connect() as connection:
        await connection.run_sync(run_migrations)


def run_migrations(connection: Connection) -> None:
    """Run the migrations in one transaction: all or nothing, on SQLite too."""
    if connection.dialect.name == "sqlite":
        # Batch mode copies a table and drops the old one, to which other rows may refer:
        # https://www.sqlite.org/lang_altertable.html#otheralter
        connection.connection.cursor().execute("PRAGMA foreign_keys=OFF")
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=True,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def print_migrations() -> None:
    """Print the SQL of the migrations: ``alembic upgrade head --sql``."""
    url = parse_url(DatabaseSettings.load().url).url
    context.configure(url=url, target_metadata=Base.metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()


if context.is_offline_mode():
    print_migrations()
else:
    asyncio.run(migrate())
