"""Applies the marks of a revision to its findings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fastapi_asyncdb.migrations.lint.finding import Finding
from fastapi_asyncdb.migrations.lint.revision import Revision


def without_marked(revision: Revision, findings: Iterable[Finding]) -> Iterator[Finding]:
    """Return the findings that no mark answers for, and those about the marks themselves."""
    marks = list(revision.source.marks())
    used: set[tuple[int, str]] = set()
    for finding in findings:
        covering = [mark for mark in marks if mark.covers(finding.rule, finding.line)]
        used.update((mark.line, finding.rule) for mark in covering)
        if not covering:
            yield finding
    for mark in marks:
        if not mark.reason:
            yield revision.finding("mark-without-reason", mark.line)
        for rule in mark.rules:
            if (mark.line, rule) not in used:
                yield revision.finding("unused-mark", mark.line, f"It names {rule!r}.")
