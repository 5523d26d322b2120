"""``Finding``: one unsafe step of a revision, what it would block, and the safe way."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Level = Literal["error", "warning"]
"""``error``: the upgrade fails, or requests wait or fail. ``warning``: to be read by a person."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One unsafe step of a revision. ``str()`` is the report for a terminal, of several lines."""

    rule: str
    """The name of the rule, for the mark ``# asyncdb: safe(rule): reason``."""
    level: Level
    revision: str
    file: Path
    line: int | None
    """In the file; ``None`` if the whole revision is concerned."""
    statement: str | None
    """The SQL, if there is one."""
    blocks: str
    """What the step blocks or breaks, and for which requests."""
    safe_way: str
    """The same change without that, with code."""

    def __str__(self) -> str:
        place = f"{self.file.name}:{self.line}" if self.line else self.file.name
        lines = [f"{place}: {self.level}: {self.rule} (revision {self.revision})"]
        if self.statement:
            lines.append(f"    {shortened(self.statement)}")
        lines += [f"  {self.blocks}", textwrap.indent(self.safe_way, "  ")]
        return "\n".join(lines)


def shortened(statement: str, width: int = 160) -> str:
    """Return a statement in one line of bounded length."""
    line = " ".join(statement.split())
    return line if len(line) <= width else f"{line[: width - 3]}..."
