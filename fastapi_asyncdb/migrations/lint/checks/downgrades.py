"""Checks of the way back: a downgrade that does nothing, or drops more than the upgrade made."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from fastapi_asyncdb.migrations.lint.checks.old_code import added, dropped
from fastapi_asyncdb.migrations.lint.finding import Finding
from fastapi_asyncdb.migrations.lint.revision import Revision


def check_downgrade(revision: Revision) -> Iterator[Finding]:
    """Return what is wrong with ``downgrade``. One that raises refuses on purpose."""
    source = revision.source
    if _is_empty(source.function("downgrade")):
        if not _is_empty(source.function("upgrade")):
            line = revision.line_of("downgrade") or revision.line_of("upgrade")
            yield revision.finding("downgrade-missing", line)
        return
    if revision.upgrade.failure is not None:
        return
    made = {part for statement in revision.upgrade.statements for part in added(statement)}
    for statement in revision.downgrade.statements:
        lost = set(dropped(statement)) - made
        if any((table, None) not in made for table, _ in lost):
            yield revision.finding_of("downgrade-loses-data", statement)


def _is_empty(function: ast.FunctionDef | None) -> bool:
    """Return whether there is no code, but for ``pass`` and texts."""
    return function is None or all(
        isinstance(node, ast.Pass)
        or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        for node in function.body
    )
