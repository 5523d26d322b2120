"""Which application and which models: named, found, or chosen from several."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from fastapi_asyncdb.cli.console import fail, note, warn
from fastapi_asyncdb.cli.init.found import Found, find_applications, find_databases, find_models
from fastapi_asyncdb.cli.init.plan import Project
from fastapi_asyncdb.cli.init.sources import Sources, read_sources

_NO_MODELS = """\
No models were found in {folder}: {count} modules have no class with a declarative base, and no Table. \
Define one, such as
  from fastapi_asyncdb import Base
  class User(Base):
      __tablename__ = "users"
      id: Mapped[int] = mapped_column(primary_key=True)
and run the command again; or name the module that has them: asyncdb init --metadata shop.models."""


def choose(folder: Path, app: str | None, metadata: tuple[str, ...], name: str | None) -> Project:
    """Return what the configuration has to name.

    Args:
        folder: Of the project.
        app: The application, if the command line names it.
        metadata: The models, if the command line names them.
        name: Of a further database.
    """
    project = _configured(folder, name)
    app, metadata = app or project.app, metadata or project.metadata
    sources = read_sources(folder)
    for problem in sources.unreadable:
        warn(f"{problem}. The file is left out.")
    if not metadata:
        metadata = _models(folder, sources)
    if app is None and name is None:
        app = _application(sources)
    return Project(folder, app, metadata, project.database or _database(sources), name)


def _configured(folder: Path, name: str | None) -> Project:
    """Return what the configuration names already."""
    path = folder / "pyproject.toml"
    try:
        file = tomllib.loads(path.read_text("utf-8")) if path.is_file() else {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        fail(f"{path} cannot be read: {error}. Correct the file.")
        raise typer.Exit(1) from None
    table: dict[str, Any] = file.get("tool", {}).get("fastapi-asyncdb", {})
    if name is not None:
        table = table.get("databases", {}).get(name, {})
    metadata = table.get("metadata", ())
    names = (metadata,) if isinstance(metadata, str) else tuple(metadata)
    return Project(folder, table.get("app"), names, table.get("database"), name)


def _models(folder: Path, sources: Sources) -> tuple[str, ...]:
    found = find_models(sources)
    if not found:
        fail(_NO_MODELS.format(folder=folder, count=len(sources.modules)))
        raise typer.Exit(1)
    return _one_of(found, "sets of models", "--metadata").names


def _application(sources: Sources) -> str | None:
    found = find_applications(sources)
    if not found:
        note("No FastAPI instance was found, so no line 'app' is written. Name one with --app.")
        return None
    return _one_of(found, "FastAPI applications", "--app").names[0]


def _database(sources: Sources) -> str | None:
    found = find_databases(sources)
    if len(found) > 1:
        names = ", ".join(each.names[0] for each in found)
        warn(
            f"There are several Database objects: {names}. The default one is used; write the line "
            "database, if it is another."
        )
    return found[0].names[0] if len(found) == 1 else None


def _one_of(found: Sequence[Found], what: str, option: str) -> Found:
    """Return the only one, or the one that is chosen on the terminal.

    Raises:
        typer.BadParameter: there are several, and no terminal.
    """
    if len(found) == 1:
        return found[0]
    lines = [f"There are {len(found)} {what}:"]
    for number, each in enumerate(found, 1):
        lines.append(f"  {number}. {', '.join(each.names)}   ({each.place})")
    if not sys.stdin.isatty():
        words = " ".join(f"{option} {name}" for name in found[0].names)
        raise typer.BadParameter("\n".join([*lines, f"Name one, as in: asyncdb init {words}"]))
    note("\n".join(lines), style="")
    choice: int = typer.prompt("Which one", type=int, err=True)
    if not 1 <= choice <= len(found):
        raise typer.BadParameter(f"There is no number {choice}.")
    return found[choice - 1]
