"""What a lifespan does about migrations: nothing, apply them, or refuse a schema that is behind."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from typing import Any

from fastapi_asyncdb.database import Database
from fastapi_asyncdb.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class StartMigrations:
    """The arguments of ``create_lifespan`` that are about migrations."""

    migrate: bool | str | PathLike[str]
    require: bool | str | PathLike[str]

    def check(self, *, tables: bool, require_connection: bool) -> None:
        """Refuse arguments that contradict each other.

        Args:
            tables: Whether tables are created from the models.
            require_connection: Whether the start waits for a connection.

        Raises:
            ConfigurationError: they do.
        """
        if not (self.migrate or self.require):
            return
        if self.migrate and tables:
            raise ConfigurationError(
                "create_lifespan takes migrate or auto_create_tables, not both: a table that is created "
                "from its model is in the way of the revision that creates it. Keep migrate."
            )
        if not require_connection:
            raise ConfigurationError(
                "migrate and require_migrated need a connection at start, and require_connection=False "
                "starts without one. Leave one of the two out; 'asyncdb upgrade' migrates before the "
                "start."
            )

    async def run(self, database: Database[Any]) -> None:
        """Apply the migrations of a database, or check that it has them.

        Raises:
            SchemaNotMigrated: it has not.
            MigrationError: a revision failed.
        """
        if self.migrate:
            await database.upgrade(config=_file(self.migrate))
        elif self.require:
            # Imported late: most processes do not check, and Alembic takes long to import.
            from fastapi_asyncdb.migrations.migrator import migrator_of

            await migrator_of(database, file=_file(self.require)).require()


def _file(value: bool | str | PathLike[str]) -> str | PathLike[str] | None:  # noqa: FBT001
    return None if isinstance(value, bool) else value
