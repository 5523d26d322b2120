"""The promises of docs/promises.md, and the tests whose marker names one."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "promises.md"


def promises(page: str) -> list[str]:
    """Return the numbers that a heading, or the first cell of a row, of the page has; in order."""
    lines = re.findall(r"^(?:#+|\|)[^|\n]*?\bT\d+\b", page, re.MULTILINE)
    return list(dict.fromkeys(line[line.rindex("T") :] for line in lines))


def named(item: pytest.Item) -> set[str]:
    """Return the promises that the markers of a test, its class and its module name."""
    return {str(name) for marker in item.iter_markers("promise") for name in marker.args}


def check_markers(items: Iterable[pytest.Item]) -> None:
    """Check that the page has each promise that a marker names.

    Raises:
        pytest.UsageError: it has not, or a marker names none.
    """
    known = set(promises(PAGE.read_text()))
    for item in items:
        if any(not marker.args for marker in item.iter_markers("promise")):
            raise pytest.UsageError(f"{item.nodeid}: a marker 'promise' names no promise.")
        if unknown := named(item) - known:
            raise pytest.UsageError(
                f"{item.nodeid}: docs/promises.md has no promise {', '.join(sorted(unknown))}. Correct "
                "the marker, or write the promise down."
            )
