"""A check for migrations that a database lacks, by the revisions of Alembic's scripts."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from sqlalchemy import Connection, inspect, text

from fastapi_asyncdb.engine.probe import Check
from fastapi_asyncdb.errors import ConfigurationError

_TABLE = "alembic_version"


def pending_migrations(ini: str | PathLike[str]) -> Check:
    """Return a check that describes which migrations a database lacks.

    The scripts are read now, and not again: they belong to the code that runs.

    Args:
        ini: The path of the ``alembic.ini``.

    Raises:
        ConfigurationError: there is no such file, or it names no scripts.
    """
    heads, known = _revisions(Path(ini))

    def check(connection: Connection) -> str | None:
        applied = _applied(connection)
        # A revision that this code does not have is a newer one: the code of the next release migrates
        # first, and this one goes on until it is replaced.
        if applied - known or heads <= applied:
            return None
        return (
            f"migrations are pending: it is at {_list(applied)}, and the code needs {_list(heads)}. "
            "Run 'alembic upgrade head'."
        )

    return check


def _revisions(ini: Path) -> tuple[frozenset[str], frozenset[str]]:
    """Return the newest revisions of the scripts, and all."""
    # Imported late: most applications do not check.
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    if not ini.is_file():
        raise ConfigurationError(
            f"migrations={str(ini)!r} names no file. Pass the path of the alembic.ini; a relative one "
            "starts at the working directory of the process."
        )
    try:
        scripts = ScriptDirectory.from_config(Config(ini))
        known = frozenset(script.revision for script in scripts.walk_revisions())
        return frozenset(scripts.get_heads()), known
    except CommandError as error:
        raise ConfigurationError(
            f"The scripts of {str(ini)!r} cannot be read: {error}. Correct the file, or the scripts."
        ) from error


def _applied(connection: Connection) -> frozenset[str]:
    if not inspect(connection).has_table(_TABLE):
        return frozenset()
    return frozenset(connection.scalars(text(f"SELECT version_num FROM {_TABLE}")))  # noqa: S608


def _list(revisions: frozenset[str]) -> str:
    return ", ".join(sorted(revisions)) or "no revision"
