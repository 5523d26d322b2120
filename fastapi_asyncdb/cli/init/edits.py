"""Changes of files: shown as a diff, then written. Lines are added as text, so that comments stay."""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from configparser import ConfigParser
from configparser import Error as IniError
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Values = Mapping[str, str | list[str]]


@dataclass(frozen=True, slots=True)
class Edit:
    """A file before and after."""

    path: Path
    before: str | None
    """``None`` for a new file."""
    after: str

    def diff(self, folder: Path) -> Iterator[str]:
        """Yield the lines of the unified diff, with paths from a folder."""
        name = str(self.path.relative_to(folder))
        yield from difflib.unified_diff(
            (self.before or "").splitlines(),
            self.after.splitlines(),
            "/dev/null" if self.before is None else name,
            name,
            lineterm="",
        )

    def write(self) -> None:
        """Write the file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(self.after, "utf-8")


class NotEditable(Exception):
    """A file is written so that lines cannot be added as text; the message has them."""


def add_to_toml(text: str, table: str, values: Values) -> str:
    """Return a TOML file with further lines in one table; lines that are there already stay.

    Args:
        text: The file.
        table: Such as ``tool.fastapi-asyncdb``.
        values: A text or a list of texts by key.

    Raises:
        NotEditable: the table is written in another form than below a line ``[table]``.
    """
    known = _table(text, table)
    new = {key: value for key, value in values.items() if key not in (known or {})}
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in new.items()]
    edited = _with_lines(text, table, lines, exists=known is not None)
    if _table(edited, table) != {**(known or {}), **new}:
        raise NotEditable("\n".join([f"[{table}]", *lines]))
    return edited


def add_to_ini(text: str, section: str, values: Values) -> str:
    """Return an ini file with further lines in one section; as ``add_to_toml()``."""
    known = _section(text, section)
    new = {key: value for key, value in values.items() if key not in (known or {})}
    lines = [f"{key} = {_plain(value)}" for key, value in new.items()]
    edited = _with_lines(text, section, lines, exists=known is not None)
    if _section(edited, section) is None:
        raise NotEditable("\n".join([f"[{section}]", *lines]))
    return edited


def _with_lines(text: str, header: str, lines: list[str], *, exists: bool) -> str:
    if not lines:
        return text
    added = "\n".join(lines)
    if exists:
        found = re.search(rf"^\[{re.escape(header)}\][ \t]*(#.*)?$", text, re.MULTILINE)
        return text if found is None else f"{text[: found.end()]}\n{added}{text[found.end() :]}"
    above = f"{text.rstrip()}\n\n" if text.strip() else ""
    return f"{above}[{header}]\n{added}\n"


def _table(text: str, table: str) -> dict[str, Any] | None:
    try:
        found: Any = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None
    for part in table.split("."):
        if not isinstance(found, dict) or part not in found:
            return None
        found = found[part]
    return dict(found)


def _section(text: str, section: str) -> dict[str, str] | None:
    parser = ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(text)
    except IniError:
        return None
    return dict(parser[section]) if parser.has_section(section) else None


def _plain(value: str | list[str]) -> str:
    return value if isinstance(value, str) else " ".join(value)
