"""Which files ``init`` adds or extends: a list of edits, of which none is written yet."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from fastapi_asyncdb.cli.init.edits import Edit, NotEditable, Values, add_to_ini, add_to_toml

_TABLE = "tool.fastapi-asyncdb"


@dataclass(frozen=True, slots=True)
class Project:
    """What was found, or named on the command line."""

    folder: Path
    app: str | None
    metadata: tuple[str, ...]
    database: str | None
    """The line ``database``; ``None`` for the default one."""
    name: str | None = None
    """Of a further database."""

    @property
    def table(self) -> str:
        """The table of pyproject.toml."""
        return _TABLE if self.name is None else f"{_TABLE}.databases.{self.name}"

    @property
    def objects(self) -> dict[str, str]:
        """The lines that name one object each."""
        lines = {"app": self.app, "database": self.database}
        return {line: name for line, name in lines.items() if name is not None}


@dataclass(slots=True)
class Plan:
    """The edits of files in a folder, and what has to be done by hand."""

    folder: Path
    files: dict[str, Edit] = field(default_factory=dict)
    by_hand: list[str] = field(default_factory=list)

    @property
    def edits(self) -> list[Edit]:
        """The files that change."""
        return [edit for edit in self.files.values() if edit.after != (edit.before or "")]

    def text(self, name: str) -> str:
        """Return a file as it will be; empty if there is none."""
        return self._edit(name).after

    def create(self, name: str, text: str) -> None:
        """Add a file, unless there is one."""
        edit = self._edit(name)
        if edit.before is None:
            self.files[name] = Edit(edit.path, None, text)

    def extend(self, name: str, table: str, values: Values) -> None:
        """Add lines to a table of a TOML or ini file, in which those that are there stay."""
        edit = self._edit(name)
        add = add_to_toml if name.endswith(".toml") else add_to_ini
        try:
            self.files[name] = Edit(edit.path, edit.before, add(edit.after, table, values))
        except NotEditable as lines:
            self.by_hand.append(f"Add these lines to {name}, which init cannot edit:\n{lines}")

    def _edit(self, name: str) -> Edit:
        if name not in self.files:
            path = self.folder / name
            before = path.read_text("utf-8") if path.is_file() else None
            self.files[name] = Edit(path, before, before or "")
        return self.files[name]
