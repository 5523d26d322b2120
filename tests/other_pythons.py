"""Runs the contract's tests with every other CPython that the project supports and this machine has.

Called by ``make test-pythons``. One that is not there is no error: the last lines say which ran and
which were not found. The pinned versions are used where they install, else the newest that do.
"""

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FAILED = "FAILED"

# What an interpreter has to say of itself: pyenv has commands that only name a version, Debian has
# Pythons that cannot make an environment, and a build without the GIL is another thing to test.
QUESTION = """
import ensurepip, sys, sysconfig, venv
gil = "" if not sysconfig.get_config_var("Py_GIL_DISABLED") else "t"
print(f"{sys.implementation.name} {sys.version_info.major}.{sys.version_info.minor}{gil}")
"""


def supported() -> list[str]:
    """Return the versions that pyproject.toml names: ``["3.11", ...]``."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = re.findall(r"Python :: (3\.\d+)$", "\n".join(project["classifiers"]), re.MULTILINE)
    return sorted(named, key=lambda version: int(version.split(".")[1]))


def find(version: str, environment: Mapping[str, str] = os.environ) -> Path | None:
    """Return a CPython of this version, from PATH or else from pyenv, if there is one.

    Args:
        version: As in ``"3.12"``.
        environment: Where PATH, PYENV_ROOT and HOME are looked up.
    """
    places = [*_on_path(version, environment), *_of_pyenv(version, environment)]
    return next((place for place in places if _is(version, place)), None)


def _on_path(version: str, environment: Mapping[str, str]) -> Iterator[Path]:
    for folder in environment.get("PATH", "").split(os.pathsep):
        if folder:
            yield Path(folder) / f"python{version}"


def _of_pyenv(version: str, environment: Mapping[str, str]) -> list[Path]:
    root = environment.get("PYENV_ROOT") or Path(environment.get("HOME", "")) / ".pyenv"
    releases = (Path(root) / "versions").glob(f"{version}.*")
    return [release / "bin" / "python" for release in sorted(releases, key=_numbers, reverse=True)]


def _numbers(path: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", path.name)]


def _is(version: str, interpreter: Path) -> bool:
    try:
        command = [str(interpreter), "-I", "-c", QUESTION]
        said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return said.stdout.strip() == f"cpython {version}"


def outcome(version: str, interpreter: Path, make: list[str]) -> str:
    """Run the tests with this interpreter, in an environment of its own; tell how they went."""
    pinned = ["the pinned versions", f"VENV=.venv-{version}"]
    newest = ["the newest versions", f"VENV=.venv-{version}-newest", "CONSTRAINTS="]
    for versions, venv, *others in (pinned, newest):
        settings = [f"PYTHON={interpreter}", venv, *others]
        if _runs([*make, f"{venv.removeprefix('VENV=')}/.ready", *settings]):
            passed = _runs([*make, "test", *settings])
            return f"{'passed' if passed else FAILED} with {versions}"
        print(f"Python {version}: {versions} do not install", flush=True)
    return f"{FAILED}: nothing installs"


def _runs(command: list[str]) -> bool:
    return subprocess.run(command, cwd=ROOT, check=False).returncode == 0


def main(make: list[str], environment: Mapping[str, str] = os.environ) -> int:
    """Run the tests with each interpreter that is found; the exit code tells whether one failed."""
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    outcomes = {here: "runs this script, and the whole suite in 'make test'"}
    for version in supported():
        if version == here:
            continue
        interpreter = find(version, environment)
        if interpreter is None:
            outcomes[version] = "not found on PATH or in pyenv, not run"
            continue
        print(f"Python {version}: {interpreter}", flush=True)
        outcomes[version] = outcome(version, interpreter, make)
    for version, what in outcomes.items():
        print(f"Python {version}: {what}", flush=True)
    return any(what.startswith(FAILED) for what in outcomes.values())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
