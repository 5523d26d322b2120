"""What the wheel and the source distribution contain, by the builder that makes them."""

import shutil
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

# Of each test, not of the file: docs/databases.md is compared with the tests of all files.
pytestmark = pytest.mark.skipif(find_spec("hatchling") is None, reason="it is in the group dev")

ROOT = Path(__file__).parent.parent
SKILL = PurePosixPath("fastapi_asyncdb", ".agents", "skills", "fastapi-asyncdb", "SKILL.md")


def paths(builder: Any) -> Iterator[PurePosixPath]:
    """Yield the files of a distribution."""
    for file in builder.recurse_included_files():
        yield PurePosixPath(file.distribution_path)


def test_wheel_has_the_package_and_the_plugin_and_no_more():
    """What an installation puts on the import path; ``tests`` is a name that applications have."""
    from hatchling.builders.wheel import WheelBuilder

    found = set(paths(WheelBuilder(str(ROOT))))
    assert {path.parts[0] for path in found} == {"fastapi_asyncdb", "pytest_asyncdb.py"}
    assert {SKILL, PurePosixPath("fastapi_asyncdb", "py.typed")} <= found


def test_source_distribution_has_what_its_tests_need():
    """Packagers run them; installing it builds the wheel, which has none of them."""
    from hatchling.builders.sdist import SdistBuilder

    found = set(paths(SdistBuilder(str(ROOT))))
    assert SKILL in found
    names = {"tests", "benchmarks", "example_app", "docs", "compose.yaml"}
    assert names <= {path.parts[0] for path in found}


def test_editable_install_shows_the_package_and_the_plugin_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The folder that pip puts on the import path has links to these two."""
    from hatchling.build import build_editable

    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE", "pytest_asyncdb.py"):
        shutil.copy(ROOT / name, tmp_path)
    for package in ("fastapi_asyncdb", "tests"):
        (tmp_path / package).mkdir()
        shutil.copy(ROOT / package / "__init__.py", tmp_path / package)
    monkeypatch.chdir(tmp_path)
    build_editable(str(tmp_path))
    with zipfile.ZipFile(tmp_path / build_editable(str(tmp_path))) as wheel:  # it is renewed
        folder = Path(wheel.read("_fastapi_asyncdb.pth").decode())
    assert {path.name for path in folder.iterdir()} == {"fastapi_asyncdb", "pytest_asyncdb.py"}
    assert (folder / "fastapi_asyncdb").samefile(tmp_path / "fastapi_asyncdb")
