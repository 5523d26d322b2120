"""``Source``: the text of a revision, and the marks in it."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_MARK = re.compile(r"#\s*asyncdb:\s*safe\(([^)]*)\)\s*:?\s*(.*)")


@dataclass(frozen=True, slots=True)
class Mark:
    """A comment ``# asyncdb: safe(rule): reason``, by which a person answers for a finding."""

    rules: tuple[str, ...]
    reason: str
    line: int
    lines: range | None
    """The lines of the statement that it is about; ``None`` is the whole revision."""

    def covers(self, rule: str, line: int | None) -> bool:
        """Return whether the mark is about a finding."""
        return rule in self.rules and (self.lines is None or line in self.lines)


class Source:
    """The text of a revision.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._text = path.read_text(encoding="utf-8")
        self.tree = ast.parse(self._text, str(path))
        self._statements = [node for node in ast.walk(self.tree) if isinstance(node, ast.stmt)]

    def function(self, name: str) -> ast.FunctionDef | None:
        """Return a function of the module."""
        found = (node for node in self.tree.body if isinstance(node, ast.FunctionDef))
        return next((node for node in found if node.name == name), None)

    def marks(self) -> Iterator[Mark]:
        """Return the marks of the file."""
        for token in tokenize.generate_tokens(io.StringIO(self._text).readline):
            found = _MARK.match(token.string) if token.type == tokenize.COMMENT else None
            if found:
                rules = tuple(name.strip() for name in found[1].split(","))
                line, column = token.start
                about = self._lines_about(line, alone=not token.line[:column].strip())
                yield Mark(rules, found[2].strip(), line, about if column else None)

    def _lines_about(self, line: int, *, alone: bool) -> range:
        """Return the lines of the innermost statement that a comment is beside, in or before."""
        in_simple = any(
            node.lineno < line <= _end(node) and not hasattr(node, "body")
            for node in self._statements
        )
        if alone and not in_simple:
            line = min((it.lineno for it in self._statements if it.lineno > line), default=line)
        around = [range(it.lineno, _end(it) + 1) for it in self._statements]
        return min((lines for lines in around if line in lines), key=len, default=range(0))


def _end(node: ast.stmt) -> int:
    return node.end_lineno or node.lineno
