"""Runs pytest on a project in a process of its own, with the plugin found as an installed one is."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

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
    kept = {
        name: value
        for name, value in os.environ.items()
        if not re.match("DATABASE_|TEST_|PYTEST_|COV", name)
    }
    paths = [str(install_entry_points(project.parent)), str(ROOT)]
    kept |= {
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONDONTWRITEBYTECODE": "1",
        "DATABASE_URL": "postgresql://nobody@nowhere.invalid/production",
        **(environment or {}),
    }
    # Plugins that have no part in it take two of three seconds to import.
    others = [
        "cacheprovider",
        "faker",
        "hypothesispytest",
        *([] if "-n" in arguments else ["xdist"]),
    ]
    without = [option for name in others for option in ("-p", f"no:{name}")]
    command = [sys.executable, "-m", "pytest", "-q", *without, *arguments]
    command += ["--basetemp", str(project.parent / "temp"), "-W", "error"]
    return subprocess.run(
        command, cwd=project, env=kept, capture_output=True, text=True, timeout=100, check=False
    )


def install_entry_points(folder: Path) -> Path:
    """Declare what pyproject.toml says, in case that the environment was made before it said so."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    [(name, module)] = pyproject["project"]["entry-points"]["pytest11"].items()
    info = folder / "site" / "asyncdb_under_test-1.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: asyncdb-under-test\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[pytest11]\n{name} = {module}\n")
    return info.parent


def counts(result: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """Return what the last line says: ``{"passed": 5}``."""
    last = (result.stdout.strip().splitlines() or [""])[-1]
    return {word: int(number) for number, word in re.findall(r"(\d+) ([a-z]+)", last)}
