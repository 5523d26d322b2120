"""``[tool.fastapi-asyncdb]`` in pyproject.toml: the models and the migrations of a project."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import MetaData

from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.migrations.config_file import (
    TABLE,
    VARIABLE,
    checked_lines,
    find_file,
    sections_of,
    table_of,
    tools_of,
)
from fastapi_asyncdb.migrations.metadata import load_metadata
from fastapi_asyncdb.references import Reference

if TYPE_CHECKING:
    from alembic.config import Config

DEFAULT_DATABASE = "fastapi_asyncdb:default_database"

OWN_ENVIRONMENT = Path(__file__).with_name("scripts")


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationConfig:
    """The lines of one database: of ``[tool.fastapi-asyncdb]``, or of ``databases.NAME`` in it."""

    file: Path
    """The pyproject.toml, or the alembic.ini of a project without the table. Paths start there."""
    name: str | None = None
    """Of a further database; ``None`` for the first."""
    metadata: tuple[str, ...] = ()
    """``app.models:Base.metadata``, or modules and packages whose models are imported."""
    migrations: str | None = None
    """The folder of the revisions; by default as Alembic's own configuration says, or ``migrations``."""
    alembic: str | None = None
    """An alembic.ini; by default the one beside the file, if there is one."""
    database: str = DEFAULT_DATABASE
    """The ``Database``."""
    app: str | None = None
    """The application."""
    seed: str | None = None
    """An async function that takes a session and fills a database for development."""

    @classmethod
    def load(
        cls, database: str | None = None, *, file: str | os.PathLike[str] | None = None
    ) -> MigrationConfig:
        """Read the lines of one database.

        Args:
            database: Its name; ``None`` is the first.
            file: A pyproject.toml, or an alembic.ini. By default the file that ``ASYNCDB_CONFIG``
                names, or the first one in the working directory and the folders above it.

        Raises:
            ConfigurationError: there is no such file or no such database, or a line is wrong.
        """
        configs = cls.load_all(file=file)
        for config in configs:
            if config.name == database:
                return config
        known = ", ".join(config.name for config in configs if config.name) or "none"
        raise ConfigurationError(
            f"There is no database {database!r} in {configs[0].file.name}. Those with a name are: "
            f"{known}. Add [{TABLE}.databases.{database}], or correct the name."
        )

    @classmethod
    def load_all(cls, *, file: str | os.PathLike[str] | None = None) -> list[MigrationConfig]:
        """Read the lines of every database, in their order; ``file`` and errors as in ``load()``."""
        path = find_file(file or os.environ.get(VARIABLE))
        if path.suffix != ".toml":
            return [cls(file=path, alembic=path.name)]
        table = dict(table_of(path) or {})
        further = table.pop("databases", {})
        return [
            cls(file=path, **checked_lines(table, path, TABLE)),
            *(
                cls(file=path, name=name, **checked_lines(lines, path, f"{TABLE}.databases.{name}"))
                for name, lines in further.items()
            ),
        ]

    @property
    def folder(self) -> Path:
        """Where relative paths start."""
        return self.file.parent

    def to_alembic(self, **options: Any) -> Config:
        """Return Alembic's own configuration.

        Args:
            **options: For ``alembic.config.Config``.
        """
        from alembic.config import Config

        self.extend_import_path()
        ini = self._ini()
        if ini is not None:
            section = self.name if self.name and self.name in sections_of(ini) else "alembic"
            config = Config(ini, ini_section=section, **options)
        elif "alembic" in tools_of(self.file):
            config = Config(toml_file=self.file, **options)
        else:
            config = Config(**options)
        self._name_scripts(config)
        config.attributes["asyncdb"] = self
        return config

    def _refuse_folder_of_another(self) -> None:
        """Refuse a further database without a folder: it would run the revisions of the first."""
        raise ConfigurationError(
            f"[{TABLE}.databases.{self.name}] in {self.file.name} names no folder of revisions. Add the "
            f'line migrations = "migrations_{self.name}", or a section [{self.name}] with '
            "script_location to alembic.ini."
        )

    def _name_scripts(self, config: Config) -> None:
        """Name the folder of the scripts; where that has no ``env.py``, the library's."""
        named = _option(config, "script_location")
        if self.name and not (
            self.migrations or (named and config.config_ini_section == self.name)
        ):
            self._refuse_folder_of_another()
        if self.migrations is None and named is not None and not Path(named).drive and ":" in named:
            return  # in a package: Alembic finds it
        # An absolute one stays as it is.
        scripts = self.folder / (self.migrations or named or "migrations")
        if (scripts / "env.py").is_file():
            _set(config, "script_location", scripts)
            return
        if not scripts.is_dir() and (self.migrations or named):
            raise ConfigurationError(
                f"The scripts of {self.file.name} cannot be read: there is no folder {scripts}. Run "
                "'asyncdb init', or correct the line that names it."
            )
        _set(config, "script_location", OWN_ENVIRONMENT)
        if _option(config, "version_locations") is None:
            versions = scripts / "versions"
            _set(config, "version_locations", versions if versions.is_dir() else scripts)
            # The separator of Alembic since 1.16, and before.
            config.set_main_option("path_separator", "os")
            config.set_main_option("version_path_separator", "os")

    def _ini(self) -> Path | None:
        if self.alembic is None:
            path = self.folder / "alembic.ini"
            return path if path.is_file() and self.migrations is None else None
        path = self.folder / self.alembic
        if not path.is_file():
            raise ConfigurationError(
                f"alembic = {self.alembic!r} in {self.file.name} names no file: there is nothing at "
                f"{path}. Paths start at the folder of {self.file.name}: correct the line."
            )
        return path

    def extend_import_path(self) -> None:
        """Put the project's folder on the import path, and its ``src`` if there is one."""
        for folder in (self.folder / "src", self.folder):
            if folder.is_dir() and str(folder) not in sys.path:
                sys.path.insert(0, str(folder))

    def load_metadata(self) -> list[MetaData]:
        """Import the models; return their tables.

        Returns:
            One ``MetaData`` or several; none if no line names any.

        Raises:
            ConfigurationError: a line names no tables, or its module cannot be imported.
        """
        self.extend_import_path()
        return load_metadata([self.reference("metadata", name) for name in self.metadata])

    def load_database(self) -> Any:
        """Return the object that the line ``database`` names."""
        self.extend_import_path()
        return self.reference("database", self.database).load()

    def reference(self, line: str, name: str) -> Reference:
        """Return a name of this file, for messages that say where it is written."""
        return Reference(line, name, self.file.name)


def config_of(database: object, *, file: str | os.PathLike[str] | None = None) -> MigrationConfig:
    """Return the lines of the database whose line ``database`` names this object.

    Args:
        database: A ``Database``.
        file: As in ``MigrationConfig.load()``.

    Raises:
        ConfigurationError: several databases have migrations, and none of the lines names this one.
    """
    configs = MigrationConfig.load_all(file=file)
    if len(configs) == 1:
        return configs[0]
    for config in configs:
        if config.load_database() is database:
            return config
    raise ConfigurationError(
        f"{configs[0].file.name} has migrations of {len(configs)} databases, and none names this one. "
        f'Add the line database = "app.db:name" to the right table of [{TABLE}].'
    )


def config_beside(scripts: Path, section: str) -> MigrationConfig:
    """Return the configuration of a folder of scripts, for Alembic's own command.

    Args:
        scripts: The folder.
        section: The section of the alembic.ini, ``alembic -n NAME``.
    """
    file = next(
        (
            path
            for folder in (scripts, *scripts.parents)
            if (path := folder / "pyproject.toml").is_file() and table_of(path) is not None
        ),
        None,
    )
    if file is None:
        return MigrationConfig.load()
    configs = MigrationConfig.load_all(file=file)
    for config in configs:
        if config.migrations and (config.folder / config.migrations).resolve() == scripts.resolve():
            return config
    return next((config for config in configs if config.name == section), configs[0])


def _option(config: Config, name: str) -> str | None:
    # Of the file or of pyproject.toml's [tool.alembic]; the latter since Alembic 1.16.
    get = getattr(config, "get_alembic_option", config.get_main_option)
    found: str | None = get(name)
    return found


def _set(config: Config, name: str, path: Path) -> None:
    config.set_main_option(name, str(path).replace("%", "%%"))
