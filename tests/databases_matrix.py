"""Write the matrix of docs/databases.md: ``python -m tests.databases_matrix``."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.matrix import PAGE, all_collected, matrix, with_matrix


class _Collected:
    """A plugin that keeps the tests of all files."""

    items: list[pytest.Item] | None = None

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.items = all_collected(session.config)


def main() -> int:
    """Collect all tests, and write the page."""
    collected = _Collected()
    arguments = ["--collect-only", "-q", "-q", "-p", "no:xdist", str(Path(__file__).parent)]
    code = pytest.main(arguments, plugins=[collected])
    if code or collected.items is None:
        return int(code) or 1
    PAGE.write_text(with_matrix(PAGE.read_text(), matrix(collected.items)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
