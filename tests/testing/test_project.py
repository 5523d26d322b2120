"""Lines of a test configuration lead to objects, or to an error that names the line."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from example_app.main import app
from fastapi_asyncdb import Base, default_database
from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.testing.project import Project

PROJECT = Project(
    app="example_app.main:app",
    database="fastapi_asyncdb:default_database",
    backend="sqlite",
    metadata="fastapi_asyncdb:Base.metadata",
    alembic="example_app/alembic.ini",
    migrations_since="",
    file=Path(__file__).parents[2] / "pyproject.toml",
)


def test_lines_lead_to_objects() -> None:
    """Each line names one; a factory is called."""
    assert PROJECT.load_app() is app
    assert PROJECT.load_database() is default_database
    assert PROJECT.load_metadata() is Base.metadata
    alembic = PROJECT.load_alembic()
    assert alembic is not None
    assert alembic.is_file()
    assert replace(PROJECT, app="builtins:dict()").load_app() == {}
    assert PROJECT.server_url is None


def test_what_is_left_out_has_a_default(tmp_path: Path) -> None:
    """The handle's own tables, and no migrations."""
    project = replace(PROJECT, metadata="", alembic="", file=tmp_path / "pytest.ini")
    assert project.load_metadata() is default_database.metadata
    assert project.load_alembic() is None


def test_tables_are_those_of_the_migrations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ``Database`` without tables of its own has those that the migrations name."""
    monkeypatch.setattr(sys, "path", sys.path[:])
    project = replace(PROJECT, metadata="", file=tmp_path / "pytest.ini")
    configuration = '[tool.fastapi-asyncdb]\nmetadata = "example_app.models:Base"\n'
    (tmp_path / "pyproject.toml").write_text(configuration)
    assert project.load_metadata() is Base.metadata


@pytest.mark.parametrize(
    ("line", "value", "words"),
    [
        ("app", "example_app.mian:app", "module that cannot be found: No module named"),
        ("app", "nowhere.main:app", "module that cannot be found: No module named"),
        ("app", "example_app.main:application", "example_app.main has no application"),
        ("app", "example_app.main", "not of the form module:attribute"),
        ("app", "example_app.main:__doc__", "names a str. Name an application"),
        ("app", "", 'has no line asyncdb_app. Add it: asyncdb_app = "app.main:app"'),
        ("database", "example_app.main:app", "names a FastAPI. Name the Database"),
        ("metadata", "fastapi_asyncdb:Base", "Name a MetaData: Base.metadata"),
        ("alembic", "alembic.ini", "names no file: there is nothing at"),
    ],
)
def test_a_wrong_line_is_named(line: str, value: str, words: str) -> None:
    """The file, the line, what it says, and what to write instead."""
    changed: dict[str, Any] = {line: value}
    project = replace(PROJECT, **changed)
    with pytest.raises(ConfigurationError) as caught:
        getattr(project, f"load_{line}")()
    message = str(caught.value)
    assert words in message
    assert f"asyncdb_{line}" in message
    assert "pyproject.toml" in message


def test_a_module_that_does_not_import_tells_its_own_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is missing is not the module that the line names."""
    (tmp_path / "half_written.py").write_text("import not_installed_anywhere")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="not_installed_anywhere"):
        replace(PROJECT, app="half_written:app").load_app()


@pytest.mark.parametrize(
    ("backend", "words"),
    [
        ("postgres", "is no backend"),
        (
            "postgresql://ada:secret@db.example/shop",
            "'shop', which does not look like one for tests",
        ),
        ("sqlite:///shop_test", "is a URL of sqlite"),
    ],
)
def test_a_backend_that_is_not_for_tests_is_refused(backend: str, words: str) -> None:
    """Tests throw away what they find; and the message holds no password."""
    with pytest.raises(ConfigurationError) as caught:
        _ = replace(PROJECT, backend=backend).server_url
    assert words in str(caught.value)
    assert "asyncdb_backend" in str(caught.value)
    assert "secret" not in str(caught.value)
