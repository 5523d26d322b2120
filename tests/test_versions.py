"""The files of versions hold to pyproject.toml, and the other Pythons are found."""

import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests import other_pythons

ROOT = Path(__file__).parent.parent
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
FILES = ("pinned-versions.txt", "tests/adoption/pinned-versions.txt")
"""What ``make lock`` writes; the second is for the group ``adoption``, which wants older releases."""
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


def lines(file: str) -> list[str]:
    """Return what stands in a file of versions, without the comments."""
    return [line for line in (ROOT / file).read_text().splitlines() if not line.startswith("#")]


def pinned(python: str = HERE, file: str = FILES[0]) -> dict[str, str]:
    """Return the version of each package that a Python of this machine's kind gets."""
    pins = [Requirement(line) for line in lines(file)]
    mine = [pin for pin in pins if pin.marker is None or pin.marker.evaluate(environment(python))]
    versions = {pin.name: str(pin.specifier).removeprefix("==") for pin in mine}
    assert len(versions) == len(mine), "a package is pinned twice"
    return versions


def environment(python: str) -> dict[str, Any]:
    """Return what markers are compared with."""
    return {
        **default_environment(),
        "python_version": python,
        "python_full_version": f"{python}.0",
        "extra": "",
    }


def named(group: str) -> Iterator[Requirement]:
    """Return what a group of pyproject.toml names, with the groups and extras of this project in it."""
    for entry in PYPROJECT["dependency-groups"][group]:
        if isinstance(entry, dict):
            yield from named(entry["include-group"])
        else:
            yield from _opened(Requirement(entry))


def _opened(requirement: Requirement) -> Iterator[Requirement]:
    project = PYPROJECT["project"]
    if requirement.name != project["name"]:
        yield requirement
        return
    yield from map(Requirement, project["dependencies"])
    for extra in requirement.extras:
        for entry in project["optional-dependencies"][extra]:
            yield from _opened(Requirement(entry))


# --- Pinned ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", FILES)
def test_pins_are_exact_versions_and_nothing_else(file: str):
    """No range, no address, no path, no option: any index will do, on any machine."""
    pin = re.compile(r"[a-z0-9-]+==\d[\w.!+]*( ; [\w.]+ [=!<>]=? '[\w.]+'[\w.'=!<>() ]*)?")
    assert [line for line in lines(file) if not pin.fullmatch(line)] == []


@pytest.mark.parametrize("python", other_pythons.supported())
@pytest.mark.parametrize("group", PYPROJECT["dependency-groups"])
def test_pins_cover_the_groups(group: str, python: str):
    """What pyproject.toml names is pinned, inside of its range; if not, ``make lock`` was forgotten."""
    pins = pinned(python, FILES[group == "adoption"])
    wrong = {}
    for requirement in named(group):
        version = pins.get(canonicalize_name(requirement.name))
        if requirement.marker and not requirement.marker.evaluate(environment(python)):
            continue
        if version is None or version not in requirement.specifier:
            wrong[str(requirement)] = version
    assert wrong == {}


def test_pins_cover_what_the_build_needs():
    """The build's own environment takes its versions from the same file."""
    pins = pinned()
    for requirement in map(Requirement, PYPROJECT["build-system"]["requires"]):
        assert pins[requirement.name] in requirement.specifier


def test_pins_cover_what_pinned_releases_need():
    """Nothing comes along in the version of the day."""
    pins = pinned()
    needed: dict[str, str] = {}
    for installed in distributions():
        name = canonicalize_name(installed.name)
        if pins.get(name) == installed.version:
            needed |= {
                canonicalize_name(requirement.name): name
                for requirement in map(Requirement, installed.requires or [])
                if requirement.marker is None or requirement.marker.evaluate(environment(HERE))
            }
    assert "iniconfig" in needed
    assert {name: by for name, by in needed.items() if name not in pins} == {}


# --- Oldest ---------------------------------------------------------------------------------------


def test_oldest_versions_are_the_lower_bounds():
    """What the suite runs with at the old end is what pyproject.toml promises."""
    project = PYPROJECT["project"]
    extras = ("postgresql", "mysql", "aiomysql", "redis", "mongo")
    promised = project["dependencies"] + [
        line for extra in extras for line in project["optional-dependencies"][extra]
    ]
    bounds = dict(re.findall(r"^([\w-]+)(?:\[\w+\])?>=([\d.]+)", "\n".join(promised), re.MULTILINE))
    pinned = dict(
        line.split("==")
        for line in (ROOT / "tests" / "oldest-versions.txt").read_text().splitlines()
        if "==" in line
    )
    assert {name: _padded(version) for name, version in bounds.items()} == {
        name: _padded(version) for name, version in pinned.items()
    }


def _padded(version: str) -> tuple[int, ...]:
    parts = [int(part) for part in version.split(".")]
    return tuple(parts + [0] * (3 - len(parts)))


# --- Other Pythons --------------------------------------------------------------------------------


def make_interpreter(path: Path, *, works: bool = True) -> Path:
    """Write a command that is this Python, or one that only has the name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f'#!/bin/sh\nexec "{sys.executable}" "$@"\n' if works else "#!/bin/sh\nexit 127\n"
    )
    path.chmod(0o755)
    return path


def test_python_is_found_on_the_path(tmp_path: Path):
    """One that does not run is passed over: pyenv has commands for versions that are not chosen."""
    make_interpreter(tmp_path / "shims" / f"python{HERE}", works=False)
    python = make_interpreter(tmp_path / "bin" / f"python{HERE}")
    path = f"{tmp_path / 'none'}:{tmp_path / 'shims'}:{tmp_path / 'bin'}"
    assert other_pythons.find(HERE, {"PATH": path}) == python


@pytest.mark.parametrize("variable", ["HOME", "PYENV_ROOT"])
def test_python_is_found_in_pyenv(tmp_path: Path, variable: str):
    """The newest release of a version; one that is not chosen is not on the path."""
    root = tmp_path / ".pyenv" if variable == "HOME" else tmp_path
    for release in (f"{HERE}.2", f"{HERE}.10", f"{HERE}.9"):
        make_interpreter(root / "versions" / release / "bin" / "python")
    found = other_pythons.find(HERE, {variable: str(tmp_path)})
    assert found == root / "versions" / f"{HERE}.10" / "bin" / "python"


def test_python_that_is_another_one_is_not_found(tmp_path: Path):
    """The name of a command is not believed."""
    make_interpreter(tmp_path / "python3.99")
    assert other_pythons.find("3.99", {"PATH": str(tmp_path)}) is None


def test_pythons_that_are_not_there_are_named(capsys: pytest.CaptureFixture[str]):
    """A machine with one Python is not red, but is told what it did not run."""
    assert other_pythons.main(["false"], {}) == 0
    said = capsys.readouterr().out
    for version in other_pythons.supported():
        assert (f"Python {version}: not found" in said) is (version != HERE)


@pytest.mark.parametrize(
    ("installs", "tests", "expected"),
    [
        ("true", "true", "passed with the pinned versions"),
        ("true", "false", "FAILED with the pinned versions"),
        ('test -z "$(CONSTRAINTS)"', "true", "passed with the newest versions"),
        ("false", "true", "FAILED: nothing installs"),
    ],
)
def test_pinned_versions_or_else_the_newest(
    tmp_path: Path, installs: str, tests: str, expected: str
):
    """What does not install in the pinned version is tested in one that does."""
    makefile = tmp_path / "Makefile"
    makefile.write_text(
        f"CONSTRAINTS := pins\n%/.ready: always\n\t{installs}\n"
        f"test:\n\t{tests}\nalways:\n.PHONY: test always\n"
    )
    make = ["make", "-f", str(makefile)]
    assert other_pythons.outcome("3.99", Path(sys.executable), make) == expected
