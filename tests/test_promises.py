"""docs/promises.md and the tests agree: each promise has tests, which say so."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "promises.md"
# A promise's number, and what the page says of it: its text, and links to the files of its tests.
PROMISES = dict(
    re.findall(r"^## (T\d+): (.*?)(?=^## |\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL)
)
TESTS = {
    path: path.read_text() for path in ROOT.glob("tests/**/test_*.py") if path != Path(__file__)
}


def linked(promise: str) -> set[Path]:
    """Return the files that the page names for a promise."""
    return {
        (PAGE.parent / link).resolve() for link in re.findall(r"\]\((.+?)\)", PROMISES[promise])
    }


def test_promises_are_numbered_without_a_gap():
    """Each has a text of its own and its number, in order: a number that tests name means one thing."""
    assert list(PROMISES) == [f"T{number}" for number in range(1, len(PROMISES) + 1)]
    assert len(PROMISES) >= 18
    assert all(re.search(r"\n\n\S.{20}", text) for text in PROMISES.values())


@pytest.mark.parametrize("promise", PROMISES)
def test_page_names_the_files_that_name_the_promise(promise: str):
    """Whoever reads a promise finds all of its tests, and no file that says nothing of it."""
    naming = {path for path, text in TESTS.items() if re.search(rf"\b{promise}\b", text)}
    assert linked(promise) == naming


@pytest.mark.parametrize("promise", PROMISES)
def test_promise_is_named_by_a_test(promise: str):
    """A file of the page has a test whose docstring ends with the promise's number."""
    named = re.compile(rf'^    """.*\({promise}\)\."""$', re.MULTILINE)
    assert any(named.search(TESTS[path]) for path in linked(promise))


def test_tests_name_no_promise_that_is_not_on_the_page():
    """A number without a text means nothing to its reader."""
    named = {number for text in TESTS.values() for number in re.findall(r"\bT\d+\b", text)}
    assert named <= PROMISES.keys()
