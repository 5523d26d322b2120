"""The file that configures migrations: where it is found, and which lines its table may have."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from configparser import ConfigParser
from pathlib import Path
from typing import Any

from fastapi_asyncdb.errors import ConfigurationError

TABLE = "tool.fastapi-asyncdb"
VARIABLE = "ASYNCDB_CONFIG"
"""The environment variable that names the file, for processes that start in another folder."""

_TEXTS = ("migrations", "alembic", "database", "app", "seed")


def find_file(given: str | os.PathLike[str] | None) -> Path:
    """Return the file that is given, or the first one in the working directory and those above it.

    Raises:
        ConfigurationError: there is none.
    """
    if given is not None:
        path = Path(given).absolute()
        if path.is_file():
            return path
        raise ConfigurationError(
            f"{str(given)!r} names no file. Name the pyproject.toml or the alembic.ini of the project. "
            "A relative path starts at the working directory of the process."
        )
    for folder in (here := Path.cwd(), *here.parents):
        if (path := folder / "pyproject.toml").is_file() and table_of(path) is not None:
            return path
        if (path := folder / "alembic.ini").is_file():
            return path
    raise ConfigurationError(
        f"No migrations are configured: neither {here} nor a folder above it has a pyproject.toml with "
        f"[{TABLE}], or an alembic.ini. Run 'asyncdb init' in the folder of the project, or set "
        f"{VARIABLE} to the path of the file."
    )


def tools_of(path: Path) -> Mapping[str, Any]:
    """Return the tables below ``[tool]`` of a pyproject.toml; none for another file."""
    if path.suffix != ".toml":
        return {}
    try:
        tools = tomllib.loads(path.read_text("utf-8")).get("tool", {})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{path} cannot be read: {error}. Correct the file; it is in the format of https://toml.io."
        ) from error
    return tools if isinstance(tools, Mapping) else {}


def table_of(path: Path) -> Mapping[str, Any] | None:
    """Return the library's table of a pyproject.toml; ``None`` if it has none."""
    return tools_of(path).get("fastapi-asyncdb")


def sections_of(ini: Path) -> list[str]:
    """Return the names of the sections of an alembic.ini."""
    parser = ConfigParser(interpolation=None)
    parser.read(ini, encoding="utf-8")
    return parser.sections()


def checked_lines(lines: Mapping[str, Any], path: Path, table: str) -> dict[str, Any]:
    """Return the lines of a table, checked.

    Args:
        lines: The lines.
        path: The file.
        table: The name of the table, for messages.

    Raises:
        ConfigurationError: there is no such line, or its value has the wrong type.
    """
    found: dict[str, Any] = {}
    for key, value in lines.items():
        if key == "metadata":
            found[key] = tuple(_texts(value, key, path))
        elif key in _TEXTS and isinstance(value, str):
            found[key] = value
        else:
            known = ", ".join(("metadata", *_TEXTS))
            wrong = "not a text" if key in _TEXTS else f"none of {known}"
            raise ConfigurationError(
                f"{key} in [{table}] of {path.name} is {wrong}. Correct or remove the line."
            )
    return found


def _texts(value: object, key: str, path: Path) -> Iterator[str]:
    for each in value if isinstance(value, list) else [value]:
        if not isinstance(each, str):
            raise ConfigurationError(
                f"{key} in {path.name} is neither a text nor a list of texts. Correct the line: "
                f'{key} = "app.models:Base.metadata".'
            )
        yield each
