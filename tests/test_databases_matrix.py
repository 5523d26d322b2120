"""docs/databases.md has the matrix that the collected tests make."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.databases import MARIADB, POOLED
from tests.support.matrix import FEATURES, PAGE, all_collected, databases_of, matrix, with_matrix

ROOT = Path(__file__).parents[1]


def test_the_matrix_is_up_to_date(tmp_path: Path, pytestconfig: pytest.Config):
    """Otherwise: ``python -m tests.databases_matrix``. A run of all tests knows them already."""
    items = all_collected(pytestconfig)
    if items is not None:
        expected = with_matrix(PAGE.read_text(), matrix(items))
        assert PAGE.read_text() == expected, "run: python -m tests.databases_matrix"
        return
    page = tmp_path / "databases.md"
    page.write_text(PAGE.read_text())
    code = (
        "import sys; from pathlib import Path; from tests import databases_matrix as it; "
        "it.PAGE = Path(sys.argv[1]); sys.exit(it.main())"
    )
    command = [sys.executable, "-c", code, str(page)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert page.read_text() == PAGE.read_text(), "run: python -m tests.databases_matrix"


def item(name: str, *fixtures: str, marked: bool = False, **parameters: str) -> Any:
    """Return a test with fixtures and parameters, and perhaps a marker ``databases``."""
    promise = pytest.mark.promise("T4").mark
    return SimpleNamespace(
        nodeid=name,
        fixturenames=(*fixtures, *parameters),
        callspec=SimpleNamespace(params=parameters),
        get_closest_marker=lambda _: promise if marked else None,
        iter_markers=lambda _: iter([promise]),
    )


def test_databases_of_a_test():
    """By its parameter; those of the contract behind the pooler too; or by its fixture."""
    assert databases_of(item("tests/data/a.py::t", database_url="sqlite")) == {"sqlite"}
    contract = "tests/contract/a.py::t"
    assert databases_of(item(contract, database_url="sqlite")) == {"sqlite", *POOLED}
    assert databases_of(item(contract, database_url="sqlite", marked=True)) == {"sqlite"}
    assert databases_of(item("a", driver="aiomysql")) == {"mariadb-aiomysql"}
    assert databases_of(item("a", "pooled_url", driver="asyncpg")) == {
        "postgresql-asyncpg",
        *POOLED,
    }
    assert databases_of(item("a", "postgres_url")) == {"postgresql-asyncpg"}
    assert databases_of(item("a")) == set()


def test_a_row_has_the_columns_of_its_tests():
    """Of a promise and of a feature."""
    name = "tests/data/test_queue.py::test_it"
    items = [item(name, database_url=database) for database in ("sqlite", *MARIADB)]
    lines = matrix(items).splitlines()
    [promise] = [line for line in lines if "[T4]" in line]
    [feature] = [line for line in lines if "queue" in line]
    assert promise.endswith("| ✓ |  |  |  | ✓ | ✓ |")
    assert feature.endswith("| ✓ |  |  |  | ✓ | ✓ |")


def test_each_feature_has_tests():
    """A file that is renamed leaves no empty row."""
    for places in FEATURES.values():
        for place in places:
            assert list(ROOT.glob(f"{place}*")), place


def test_only_the_matrix_is_replaced():
    """What stands around the comments stays."""
    page = "a\n<!-- matrix -->\nold\n<!-- end of the matrix -->\nb\n"
    assert with_matrix(page, "new") == page.replace("old", "\nnew\n")
