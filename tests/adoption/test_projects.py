"""Small projects with the libraries that real ones have, whose own tests run as their users run them.

A project is a folder with a ``pyproject.toml``. It is copied, and its tests run in a process of their
own. ``ADOPTION_DATABASE_URL`` names an empty database. The ``conftest.py`` of the project makes of it
what the project reads, such as ``DB_HOST``. A project for PostgreSQL only has
``databases = ["postgresql"]`` in the table ``[tool.adoption]``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support.databases import POSTGRESQL
from tests.support.plugin_runs import ROOT

HERE = Path(__file__).parent
PROJECTS = sorted(path.parent.name for path in HERE.glob("*/pyproject.toml"))


def databases_of(project: str) -> list[str]:
    """Return the databases that a project names, if it is not for all."""
    tool = tomllib.loads((HERE / project / "pyproject.toml").read_text())["tool"]
    named: list[str] = tool.get("adoption", {}).get("databases", [])
    return named


@pytest.mark.timeout(300)
@pytest.mark.databases("sqlite", POSTGRESQL[0])
@pytest.mark.parametrize("project", [name for name in PROJECTS if not databases_of(name)])
def test_tests_of_project_pass(project: str, database_url: str, tmp_path: Path) -> None:
    """The project's tests pass on this database, and none is skipped that should run."""
    run_tests(project, database_url, tmp_path)


@pytest.mark.timeout(300)
@pytest.mark.databases(POSTGRESQL[0])
@pytest.mark.parametrize("project", [name for name in PROJECTS if databases_of(name)])
def test_tests_of_project_for_postgresql_pass(
    project: str, database_url: str, tmp_path: Path
) -> None:
    """The same on PostgreSQL, of which the project has more than a database."""
    run_tests(project, database_url, tmp_path)


def run_tests(project: str, database_url: str, tmp_path: Path) -> None:
    """Run the tests of a copy of the project."""
    folder = shutil.copytree(
        HERE / project, tmp_path / project, ignore=shutil.ignore_patterns("__py*", ".*")
    )
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DATABASE_", "DB_", "POSTGRES_", "PYTEST_", "COV", "TEST_"))
    }
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rs"],
        cwd=folder,
        env=kept | {"ADOPTION_DATABASE_URL": database_url, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=280,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout


def test_no_library_is_left_out() -> None:
    """``coming_from`` leaves out what does not install on this Python, and this test says so."""
    fits = {"fastsqla": sys.version_info >= (3, 12), "fastapi_sqla": sys.version_info < (3, 14)}
    assert all(find_spec(name) for name, here in fits.items() if here)
    if left_out := [name for name, here in fits.items() if not here]:
        pytest.skip(f"{left_out} does not install on this Python: its page is not tested")
