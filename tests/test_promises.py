"""docs/promises.md and the tests agree: each promise has tests, whose marker names it."""

import ast
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.promises import PAGE, check_markers, promises

TESTS = Path(__file__).parent
PROMISES = promises(PAGE.read_text())


def marked(path: Path) -> set[str]:
    """Return the promises that the markers in a file name."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    return {
        argument.value
        for call in calls
        if ast.unparse(call.func) == "pytest.mark.promise"
        for argument in call.args
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
    }


def test_promises_are_numbered_in_order():
    """The page has each number once: a number that tests name means one thing."""
    numbers = [int(name.removeprefix("T")) for name in PROMISES]
    assert numbers == sorted(set(numbers))
    assert numbers[:18] == list(range(1, 19))


def test_each_promise_has_a_test():
    """A promise that no test names may be broken."""
    assert set(PROMISES) <= set().union(*(marked(path) for path in TESTS.rglob("test_*.py")))


@pytest.mark.parametrize(
    ("names", "words"), [(("T1", "T0"), "no promise T0"), ((), "names no promise")]
)
def test_marker_that_names_no_promise_is_refused(names: tuple[str, ...], words: str):
    """A wrong number ends the run before the first test."""
    markers = [pytest.mark.promise(*names).mark] if names else [pytest.mark.promise.mark]
    item: Any = SimpleNamespace(nodeid="test_it.py::test_it", iter_markers=lambda _: iter(markers))
    with pytest.raises(pytest.UsageError, match=words):
        check_markers([item])
