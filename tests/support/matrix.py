"""The matrix of docs/databases.md: on which databases the tests of each promise and feature run."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support import promises
from tests.support.databases import MARIADB, POOLED, POSTGRESQL

PAGE = Path(__file__).parents[2] / "docs" / "databases.md"
_MARKS = "<!-- matrix -->", "<!-- end of the matrix -->"

COLUMNS = {
    "SQLite": {"sqlite", "sqlite-memory"},
    "PostgreSQL": {"postgresql-asyncpg"},
    "PostgreSQL (psycopg)": {"postgresql-psycopg"},
    "PgBouncer": set(POOLED),
    "MariaDB": {MARIADB[0]},
    "MariaDB (aiomysql)": {MARIADB[1]},
}
"""The databases of each column, as ``database_url`` names them."""
FEATURES = {
    "[Repository](data.md)": ("tests/data/test_repository.py",),
    "[Unit of work](data.md)": ("tests/data/test_unit_of_work.py",),
    "[Pages](pages.md)": ("tests/data/test_pages.py", "tests/data/test_page_routes.py"),
    "[Cursor pages](pages.md#cursors)": ("tests/data/test_cursor",),
    "[Filters](filters.md)": ("tests/data/test_filter",),
    "[Many rows](bulk.md)": ("tests/data/test_create_many.py",),
    "[Upserts](bulk.md#upserts)": ("tests/data/test_upsert.py",),
    "[Advisory locks](bulk.md#advisory-locks)": ("tests/data/test_locks.py",),
    "[A queue in a table](bulk.md#a-queue-in-a-table)": ("tests/data/test_queue.py",),
    "[Models](models.md)": ("tests/models/",),
    "[Errors as problems](problems.md)": ("tests/web/test_problems",),
    "[Health](health.md)": ("tests/web/test_health.py",),
    "[Migrations](migrations.md)": ("tests/migrations/test_migrator.py",),
    "[Backfills](migrations-safety.md)": ("tests/migrations/test_backfills.py",),
    "[Sandbox](testing.md)": ("tests/testing/test_sandbox",),
    "[Isolated databases](testing-servers.md)": ("tests/testing/test_isolated_database.py",),
    "[Counted queries](testing.md)": ("tests/testing/test_queries.py",),
    "[Doctor](doctor.md)": ("tests/doctor/",),
}
"""Where the tests of each feature are: the beginnings of their names."""
# Fixtures of a database that no parameter chooses.
_FIXTURES = {
    "sqlite_url": ("sqlite",),
    "postgres_url": POSTGRESQL[:1],
    "pooled_url": POOLED,
    "mysql_url": MARIADB[:1],
}
_BY_DRIVER = {name.partition("-")[2]: name for name in (*POSTGRESQL, *MARIADB)}
# `make test-pooler` runs these, where they name no databases.
_POOLED = "tests/contract/"


_COLLECTED = pytest.StashKey[list[pytest.Item]]()


def keep_collected(items: list[pytest.Item]) -> None:
    """Remember the tests, before a run deselects some."""
    if items:
        items[0].config.stash[_COLLECTED] = list(items)


def all_collected(config: pytest.Config) -> list[pytest.Item] | None:
    """Return the tests, if they are those of all files."""
    items = config.stash.get(_COLLECTED, [])
    folder = Path(__file__).parents[1]
    named = {folder / "adoption", folder / "cluster"}  # what runs when it is named only
    files = {path for path in folder.rglob("test_*.py") if named.isdisjoint(path.parents)}
    return items if files <= {item.path for item in items} else None


def databases_of(item: pytest.Item) -> set[str]:
    """Return the databases that a test runs on in one of the runs of ``.ci/run``.

    Each driver that a URL has to name has a run of its own.
    """
    parameters: Mapping[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
    fixtures = getattr(item, "fixturenames", ())
    named = {name for fixture in fixtures for name in _FIXTURES.get(fixture, ())}
    if "database_url" in parameters:
        usual = item.get_closest_marker("databases") is None
        pooled = POOLED if usual and item.nodeid.startswith(_POOLED) else ()
        return named | {parameters["database_url"], *pooled}
    if parameters.get("driver") in _BY_DRIVER:
        return named - {*POSTGRESQL, *MARIADB} | {_BY_DRIVER[parameters["driver"]]}
    return named


def matrix(items: Iterable[pytest.Item]) -> str:
    """Return the tables of promises and features, by the tests that pytest has collected."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for item in items:
        databases = databases_of(item)
        for row in (*promises.named(item), *_features(item)):
            found[row] |= databases
    return "\n\n".join(
        [_table("promise", dict(_promises()), found), _table("feature", dict(_rows()), found)]
    )


def _features(item: pytest.Item) -> Iterator[str]:
    return (name for name, places in FEATURES.items() if item.nodeid.startswith(places))


def _rows() -> Iterator[tuple[str, str]]:
    return ((name, name) for name in FEATURES)


def _promises() -> Iterator[tuple[str, str]]:
    """Yield the number and the heading of each promise, with a link to it."""
    page = promises.PAGE.read_text()
    for number, words in re.findall(r"^## (T\d+): (.+)$", page, re.MULTILINE):
        anchor = re.sub(r"[^a-z0-9 -]", "", f"{number}: {words}".lower()).replace(" ", "-")
        yield number, f"[{number}](promises.md#{anchor}) {words}"


def _table(heading: str, rows: Mapping[str, str], found: Mapping[str, set[str]]) -> str:
    lines = [f"| {heading} | {' | '.join(COLUMNS)} |", f"|---|{':-:|' * len(COLUMNS)}"]
    for key, words in rows.items():
        cells = ["✓" if found[key] & names else "" for names in COLUMNS.values()]
        lines.append(f"| {words} | {' | '.join(cells)} |")
    return "\n".join(lines)


def with_matrix(page: str, text: str) -> str:
    """Return the page with the matrix between its two comments."""
    begin, end = _MARKS
    before, rest = page.split(begin)
    return f"{before}{begin}\n\n{text}\n\n{end}{rest.split(end)[1]}"
