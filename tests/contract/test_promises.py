"""Every promise has a test here, and says so."""

import re
from pathlib import Path

import pytest


@pytest.mark.parametrize("promise", [f"T{number}" for number in range(1, 19)])
def test_promise_is_named_by_a_test(promise: str):
    """Whoever looks for the test of a promise finds it by its name."""
    here = Path(__file__).parent
    named = [
        path.name
        for path in here.glob("test_*.py")
        if re.search(rf'^    """.*\({promise}\)\."""$', path.read_text(), re.MULTILINE)
    ]
    assert named
