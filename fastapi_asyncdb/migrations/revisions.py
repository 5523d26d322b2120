"""The revisions of a project: its newest ones, and those that a database lacks."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from os import PathLike
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text

from fastapi_asyncdb.engine.probe import Check
from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.migrations.config import MigrationConfig

if TYPE_CHECKING:
    from alembic.script import ScriptDirectory

_TABLE = "alembic_version"


def pending_migrations(file: str | PathLike[str] | MigrationConfig) -> Check:
    """Return a check that describes which migrations a database lacks.

    The scripts are read now, and not again: they belong to the code that runs.

    Args:
        file: The path of the alembic.ini or of the pyproject.toml, or the configuration.

    Raises:
        ConfigurationError: there is no such file, or it names no scripts.
    """
    config = file if isinstance(file, MigrationConfig) else MigrationConfig.load(file=file)
    scripts = scripts_of(config)

    def check(connection: Connection) -> str | None:
        lacks = pending(applied(connection), scripts)
        return lacks and f"migrations are pending: {lacks} Run 'asyncdb upgrade'."

    return check


def pending(applied: Collection[str], scripts: ScriptDirectory) -> str | None:
    """Return at which revision a database is, if that is behind the code; ``None`` otherwise.

    A revision that this code does not have is a newer one: the code of the next release migrates
    first, and this one goes on until it is replaced.
    """
    heads = scripts.get_heads()
    if set(heads) <= set(applied):
        return None
    if set(applied) - {script.revision for script in scripts.walk_revisions()}:
        return None
    return f"it is at {listed(applied)}, and the code needs {listed(heads)}."


def scripts_of(config: MigrationConfig) -> ScriptDirectory:
    """Return Alembic's view of the scripts.

    Raises:
        ConfigurationError: there is no folder, or a script in it cannot be read.
    """
    # Imported late: most applications do not look at their migrations.
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    try:
        scripts = ScriptDirectory.from_config(config.to_alembic())
        scripts.get_heads()
    except CommandError as error:
        raise ConfigurationError(
            f"The scripts of {str(config.file)!r} cannot be read: {error}. Correct the file, or the "
            "scripts."
        ) from error
    return scripts


def applied(connection: Connection) -> frozenset[str]:
    """Return the revisions at which a database is: those of Alembic's own table."""
    if not inspect(connection).has_table(_TABLE):
        return frozenset()
    return frozenset(connection.scalars(text(f"SELECT version_num FROM {_TABLE}")))  # noqa: S608


def listed(revisions: Iterable[str]) -> str:
    """Return revisions as a message lists them."""
    return ", ".join(sorted(revisions)) or "no revision"
