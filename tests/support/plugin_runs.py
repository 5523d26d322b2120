"""Runs pytest on projects in processes of their own, with the plugin found as an installed one is."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.warm_python import WarmPython

ROOT = Path(__file__).parents[2]
SAMPLE = Path(__file__).parent / "sample_project"


def make_project(folder: Path, tests: str = "", *lines: str) -> Path:
    """Copy the sample project, with these tests and these further lines in its pytest.ini."""
    project = shutil.copytree(SAMPLE, folder / "project", ignore=shutil.ignore_patterns("__py*"))
    names = {line.partition("=")[0].strip() for line in lines}
    ini = (SAMPLE / "pytest.ini").read_text().splitlines()
    kept = [line for line in ini if line.partition("=")[0].strip() not in names]
    (project / "pytest.ini").write_text("\n".join([*kept, *lines]) + "\n")
    if tests:
        (project / "test_it.py").write_text(tests)
    return project


def run_pytest(
    project: Path, *arguments: str, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run pytest there. ``DATABASE_URL`` leads nowhere: a test that uses it fails."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", *_options(project, arguments)],
        cwd=project,
        env=_environment(project, environment or {}),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def run_warm(
    python: WarmPython, project: Path, *arguments: str, environment: Mapping[str, str] | None = None
) -> str:
    """Run pytest there in a fork of a Python that has imported the packages; return all that it prints.

    Assertions are not rewritten in modules that are imported already; pytest warns of them.
    """
    options = _options(project, ("--assert=plain", *arguments))
    variables = _environment(project, environment or {})
    ended = python.run(
        "-m", "pytest", *options, cwd=project, env=variables, stderr=subprocess.STDOUT
    )
    return ended.stdout


def _environment(project: Path, more: Mapping[str, str]) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not re.match("DATABASE_|TEST_|PYTEST_|COV", name)
    }
    paths = [str(install_entry_points(project.parent)), str(ROOT)]
    return kept | {
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONDONTWRITEBYTECODE": "1",
        "DATABASE_URL": "postgresql://nobody@nowhere.invalid/production",
        **more,
    }


def _options(project: Path, arguments: Sequence[str]) -> list[str]:
    # Plugins that have no part in it take two of three seconds to import.
    others = [
        "cacheprovider",
        "faker",
        "hypothesispytest",
        *([] if "-n" in arguments else ["xdist"]),
    ]
    without = [option for name in others for option in ("-p", f"no:{name}")]
    temp = ["--basetemp", str(project.parent / "temp")]
    return ["-q", *without, *arguments, *temp, "-W", "error"]


def install_entry_points(folder: Path) -> Path:
    """Declare what pyproject.toml says, in case that the environment was made before it said so."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    [(name, module)] = pyproject["project"]["entry-points"]["pytest11"].items()
    info = folder / "site" / "asyncdb_under_test-1.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: asyncdb-under-test\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[pytest11]\n{name} = {module}\n")
    return info.parent


def counts(output: str) -> dict[str, int]:
    """Return what the last line says: ``{"passed": 5}``."""
    last = (output.strip().splitlines() or [""])[-1]
    return {word: int(number) for number, word in re.findall(r"(\d+) ([a-z]+)", last)}
