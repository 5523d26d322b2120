"""The project under test, as the configuration of pytest names it: database, application, tables."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from sqlalchemy import MetaData

from fastapi_asyncdb.database import Database
from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.migrations import MigrationConfig
from fastapi_asyncdb.references import Reference
from fastapi_asyncdb.testing.servers.given import for_tests

PRIVATE_SERVERS = ("postgresql", "mariadb")
"""The values of ``asyncdb_backend`` for which the tests start a server."""


@dataclass(frozen=True, slots=True)
class Project:
    """The values of the configuration's lines; empty where a line is missing."""

    app: str
    database: str
    backend: str = field(repr=False)
    """May contain a password."""
    metadata: str
    alembic: str
    migrations_since: str
    file: Path
    """The file of the configuration."""
    seed: str = ""

    @property
    def wants_server(self) -> bool:
        """Whether the tests use a private server."""
        return self.backend in PRIVATE_SERVERS

    @property
    def server_url(self) -> SecretStr | None:
        """The server that the configuration names by its URL, if any.

        Raises:
            ConfigurationError: it is a file, or its database is not for tests.
        """
        if self.backend == "sqlite" or self.wants_server:
            return None
        if "://" not in self.backend:
            raise ConfigurationError(
                f"asyncdb_backend = {self.backend!r} in {self.file.name} is no backend: neither a name "
                "that is known nor a URL. Write sqlite, postgresql, mariadb, or "
                "postgresql://.../app_test."
            )
        return for_tests(SecretStr(self.backend), f"asyncdb_backend in {self.file.name}")

    def load_database(self) -> Database[Any]:
        """Return the ``Database``.

        Raises:
            ConfigurationError: there is none under that name.
        """
        reference = self._reference("asyncdb_database", self.database)
        found = reference.load()
        if isinstance(found, Database):
            return found
        raise reference.wrong(found, "the Database of your application")

    def load_app(self) -> Any:
        """Return the application; a factory is called each time.

        Raises:
            ConfigurationError: there is none under that name, or no name.
        """
        if not self.app:
            raise ConfigurationError(
                f"asyncdb_client has no application: {self.file.name} has no line asyncdb_app. Add it: "
                'asyncdb_app = "app.main:app", or "app.main:create_app()" for a factory.'
            )
        reference = self._reference("asyncdb_app", self.app.removesuffix("()"))
        found = reference.load()
        if not callable(found):
            raise reference.wrong(found, "an application, or its factory with ()")
        return found() if self.app.endswith("()") else found

    def load_metadata(self) -> MetaData | None:
        """Return the tables of the configuration, of the ``Database``, or of the migrations.

        Raises:
            ConfigurationError: there are none under that name.
        """
        if not self.metadata:
            return self.load_database().metadata or self._migrated_metadata()
        reference = self._reference("asyncdb_metadata", self.metadata)
        found = reference.load()
        if isinstance(found, MetaData):
            return found
        raise reference.wrong(found, "a MetaData: Base.metadata")

    def _migrated_metadata(self) -> MetaData | None:
        """Return the tables that ``[tool.fastapi-asyncdb]`` names, if they are one ``MetaData``."""
        path = self.file.parent / "pyproject.toml"
        tables = MigrationConfig.load(file=path).load_metadata() if path.is_file() else []
        return tables[0] if len(tables) == 1 else None

    def load_seed(self) -> Callable[..., Coroutine[Any, Any, Any]] | None:
        """Return the function that fills the database, if the configuration names one.

        Raises:
            ConfigurationError: there is none under that name.
        """
        if not self.seed:
            return None
        reference = self._reference("asyncdb_seed", self.seed)
        return reference.load_coroutine_function("an async function that takes a session")

    def load_alembic(self) -> Path | None:
        """Return the path of the alembic.ini.

        Raises:
            ConfigurationError: there is no such file.
        """
        if not self.alembic:
            return None
        path = self.file.parent / self.alembic
        if path.is_file():
            return path
        raise ConfigurationError(
            f"asyncdb_alembic = {self.alembic!r} in {self.file.name} names no file: there is nothing at "
            f"{path}. Paths start at the folder of {self.file.name}: correct the line."
        )

    def _reference(self, line: str, name: str) -> Reference:
        return Reference(line, name, self.file.name)
