"""The lines of the pytest plugin, in the file that configures pytest."""

from __future__ import annotations

from typing import Any

from fastapi_asyncdb.cli.init.plan import Plan, Project
from fastapi_asyncdb.cli.init.scripts import Scripts

# In the order in which pytest looks: https://docs.pytest.org/en/stable/reference/customize.html
_FILES = (
    ("pytest.toml", "pytest"),
    (".pytest.toml", "pytest"),
    ("pytest.ini", "pytest"),
    (".pytest.ini", "pytest"),
    ("pyproject.toml", "tool.pytest"),
    ("pyproject.toml", "tool.pytest.ini_options"),
    ("tox.ini", "pytest"),
    ("setup.cfg", "tool:pytest"),
)
_DEFAULT = ("pyproject.toml", "tool.pytest.ini_options")
_CONFTEST = '''"""Fixtures of all tests."""

import pytest


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """SQLAlchemy's async engines run on asyncio."""
    return "asyncio"
'''
_MIGRATIONS = '''"""The migrations lead to the tables of the models, step by step and back."""

from fastapi_asyncdb.testing.migrations import *  # noqa: F403
'''


def configure_pytest(plan: Plan, project: Project, scripts: Scripts) -> None:
    """Add what the fixtures need to know, and the tests of the migrations."""
    file, table = next((each for each in _FILES if f"[{each[1]}]" in plan.text(each[0])), _DEFAULT)
    other_plugin = "asyncio_mode" in plan.text(file)
    lines = _lines(project, scripts)
    plan.extend(file, table, lines if other_plugin else {"anyio_mode": "auto", **lines})
    has_conftest = any(plan.text(name) for name in ("conftest.py", "tests/conftest.py"))
    if not (other_plugin or has_conftest):
        plan.create("tests/conftest.py", _CONFTEST)
    if not scripts.adopted:
        plan.create("tests/test_migrations.py", _MIGRATIONS)


def _lines(project: Project, scripts: Scripts) -> dict[str, str | list[str]]:
    lines: dict[str, Any] = {f"asyncdb_{line}": name for line, name in project.objects.items()}
    if scripts.ini is not None:
        lines["asyncdb_alembic"] = scripts.ini
    in_git = any((each / ".git").exists() for each in (project.folder, *project.folder.parents))
    if not in_git and not scripts.adopted:
        # Which revisions are new is known to git: without it, the test of safety looks at all.
        lines["asyncdb_migrations_since"] = "base"
    if not (project.folder / "src").is_dir():
        lines["pythonpath"] = ["."]
    return lines
