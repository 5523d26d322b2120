"""Finds the places where a revision loads all rows of a query into memory. Looks at the source only."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from fastapi_asyncdb.migrations.lint.finding import Finding
from fastapi_asyncdb.migrations.lint.revision import Revision

_READS = {"execute", "exec_driver_sql", "scalars", "query", "stream", "stream_scalars"}
_ALL = {"all", "fetchall"}
_ONE_ROW = {"first", "one", "one_or_none", "fetchone", "scalar", "scalar_one", "scalar_one_or_none"}
_COLLECTS = {"list", "tuple", "set", "dict", "sorted", "frozenset"}
# What reads in parts, and the catalogs of databases, which are small.
_BOUNDED = re.compile(
    r"\blimit\b|yield_per|partitions|fetchmany|information_schema|\bpg_|sqlite_master|pragma",
    re.IGNORECASE,
)


def check_loads(revision: Revision) -> Iterator[Finding]:
    """Return a finding for each line that loads a whole table."""
    reader = _Reader(revision.source.tree)
    for line in sorted(set(reader.lines())):
        yield revision.finding("loads-whole-table", line)


class _Reader:
    def __init__(self, tree: ast.Module) -> None:
        self._tree = tree
        self._values = {
            target.id: node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }

    def lines(self) -> Iterator[int]:
        for node in ast.walk(self._tree):
            for rows in _consumed(node):
                if self._reads(rows) and not _BOUNDED.search(self._text(rows)):
                    yield rows.lineno

    def _reads(self, rows: ast.expr, depth: int = 10) -> bool:
        """Return whether an expression is the result of a query: ``x.execute(...).mappings()``."""
        if isinstance(rows, ast.Name) and rows.id in self._values and depth:
            return self._reads(self._values[rows.id], depth - 1)
        if isinstance(rows, ast.Await):
            return self._reads(rows.value, depth)
        if not (isinstance(rows, ast.Call) and isinstance(rows.func, ast.Attribute)):
            return False
        name = rows.func.attr
        return name in _READS or (name not in _ONE_ROW and self._reads(rows.func.value, depth))

    def _text(self, node: ast.expr, depth: int = 3) -> str:
        """Return the source of an expression, with that of the variables in it."""
        names = {it.id for it in ast.walk(node) if isinstance(it, ast.Name)} & self._values.keys()
        inner = (self._text(self._values[name], depth - 1) for name in sorted(names) if depth)
        return " ".join([ast.unparse(node), *inner])


def _consumed(node: ast.AST) -> Iterator[ast.expr]:
    """Return the expressions whose items a node takes one and all."""
    match node:
        case ast.For(iter=rows) | ast.comprehension(iter=rows):
            yield rows
        case ast.Call(func=ast.Attribute(value=rows, attr=name)) if name in _ALL:
            yield rows
        case ast.Call(func=ast.Name(id=name), args=[rows, *_]) if name in _COLLECTS:
            yield rows
