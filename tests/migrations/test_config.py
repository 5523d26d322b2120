"""``[tool.fastapi-asyncdb]``: what is found, and what a wrong line says."""

import re
from pathlib import Path

import pytest

from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.migrations import MigrationConfig
from fastapi_asyncdb.migrations.config import config_of
from tests.support.migration_project import MODELS, MigrationProject, migration_project

pytestmark = pytest.mark.databases("sqlite")


@pytest.fixture
def project(tmp_path: Path) -> MigrationProject:
    """A project with models."""
    return migration_project(tmp_path, "sqlite://")


def load(project: MigrationProject, lines: str, database: str | None = None) -> MigrationConfig:
    """Write the table; read it."""
    file = project.write("pyproject.toml", f"[tool.fastapi-asyncdb]\n{lines}")
    return MigrationConfig.load(database, file=file)


def test_file_is_found_above_the_working_directory(
    project: MigrationProject, monkeypatch: pytest.MonkeyPatch
):
    """In a folder of the project, like git; a pyproject.toml without the table is passed over."""
    (project.folder / "a" / "b").mkdir(parents=True)
    project.write("a/pyproject.toml", "[tool.other]")
    monkeypatch.chdir(project.folder / "a" / "b")
    assert MigrationConfig.load().file == project.folder / "pyproject.toml"


def test_file_is_named_by_the_environment(
    project: MigrationProject, monkeypatch: pytest.MonkeyPatch
):
    """A process in a container has another working directory."""
    monkeypatch.setenv("ASYNCDB_CONFIG", str(project.folder / "pyproject.toml"))
    assert MigrationConfig.load().folder == project.folder
    monkeypatch.setenv("ASYNCDB_CONFIG", "missing.toml")
    with pytest.raises(ConfigurationError, match=r"'missing\.toml' names no file"):
        MigrationConfig.load()


def test_nothing_is_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The message leads to the command that configures it."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match="asyncdb init"):
        MigrationConfig.load()


@pytest.mark.parametrize("name", ["models:Base.metadata", "models:Base", "models", ""])
def test_ways_to_name_the_tables(project: MigrationProject, name: str):
    """An attribute, a base, a module, or the package whose modules are all imported."""
    reference = f"{project.package}.{name}".rstrip(".")
    (metadata,) = load(project, f'metadata = "{reference}"').load_metadata()
    assert set(metadata.tables) == {"users", "posts"}


def test_several_metadatas(project: MigrationProject):
    """A list; one that is named twice counts once."""
    project.write(f"{project.package}/more.py", MODELS)
    names = [f"{project.package}.{name}" for name in ("models", "more:Base", "models:Base")]
    assert len(load(project, f"metadata = {names}").load_metadata()) == 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('metadata = "nowhere.models:Base"', "names a module that cannot be found"),
        ('metadata = "{0}.models:Missing"', "has no Missing"),
        ('metadata = "{0}.models:String"', "is of the wrong kind: it names a type"),
        ('metadata = "{0}.empty"', "modules without a model"),
        ('metadata = "{0}.broken"', r"cannot be imported: ZeroDivisionError.*broken\.py:1"),
        ('metadata = "{0}.unparsed"', r"cannot be imported: SyntaxError.*unparsed\.py:1"),
        ('metadata = "{0}.imports"', r"cannot be imported: ModuleNotFoundError.*imports\.py:1"),
    ],
)
def test_models_that_are_not_there(project: MigrationProject, line: str, message: str):
    """Each message says which line of which file to correct, and where the module fails."""
    project.write(f"{project.package}/empty.py", "")
    project.write(f"{project.package}/broken.py", "1 / 0")
    project.write(f"{project.package}/unparsed.py", "def")
    project.write(f"{project.package}/imports.py", "import not_installed_at_all")
    config = load(project, line.format(project.package))
    with pytest.raises(ConfigurationError, match=message) as caught:
        config.load_metadata()
    assert "pyproject.toml" in str(caught.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("metadata = 3", "metadata in pyproject.toml is neither a text nor a list"),
        ("migrations = 3", "migrations in [tool.fastapi-asyncdb] of pyproject.toml is not a text"),
        ('folder = "x"', "folder in [tool.fastapi-asyncdb] of pyproject.toml is none of metadata,"),
        ('alembic = "x.ini"', "names no file"),
        ("metadata = ", "cannot be read"),
    ],
)
def test_wrong_lines(project: MigrationProject, line: str, message: str):
    """Each message names the line."""
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        load(project, line).to_alembic()


def test_unknown_database(project: MigrationProject):
    """The message lists those that there are."""
    with pytest.raises(ConfigurationError, match="Those with a name are: events"):
        load(project, '[tool.fastapi-asyncdb.databases.events]\napp = "x:y"', "users")


def test_database_that_no_line_names(project: MigrationProject):
    """With migrations of several databases a ``Database`` has to be named."""
    load(project, '[tool.fastapi-asyncdb.databases.events]\ndatabase = "json:loads"')
    with pytest.raises(ConfigurationError, match="none names this one"):
        config_of(object(), file=project.folder / "pyproject.toml")
