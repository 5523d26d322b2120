"""Imports what was found, in a process of its own: ``python -m fastapi_asyncdb.cli.init.probe``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.migrations.config import MigrationConfig


def probe(folder: Path, metadata: list[str], objects: dict[str, str]) -> dict[str, Any]:
    """Import the models and the objects; return the number of tables, and what is wrong.

    Args:
        folder: Of the project.
        metadata: As in the configuration.
        objects: Names by their lines: ``app``, ``database``.
    """
    config = MigrationConfig(file=folder / "pyproject.toml", metadata=tuple(metadata))
    problems = []
    tables = 0
    try:
        tables = sum(len(each.tables) for each in config.load_metadata())
    except ConfigurationError as error:
        problems.append(str(error.args[0]))
    for line, name in objects.items():
        try:
            config.reference(line, name.removesuffix("()")).load()
        except ConfigurationError as error:
            problems.append(str(error.args[0]))
        except Exception as error:
            from fastapi_asyncdb.cli.failures import place_in_project

            place = place_in_project(error)
            problems.append(
                f"{line} = {name!r} cannot be imported: {type(error).__name__}: {error}"
                f"{f', in {place}' if place else ''}."
            )
    return {"tables": tables, "problems": problems}


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    found = probe(Path.cwd(), given["metadata"], given["objects"])
    # Not the standard output, on which the user's modules may print.
    Path(sys.argv[2]).write_text(json.dumps(found))
