"""What the command line says of itself, and what that costs."""

import re
import subprocess
import sys

import pytest
import typer

from fastapi_asyncdb import __version__
from fastapi_asyncdb.cli.main import app
from tests.cli.conftest import ROOT, Command

COMMANDS = [str(command.name or command.callback.__name__) for command in app.registered_commands]  # type: ignore[union-attr]


def python(script: str, **variables: str) -> str:
    """Run a script in a process of its own; return what it prints."""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), **variables},
    )
    return run.stdout + run.stderr


def test_help_imports_no_framework():
    """It answers at once: neither FastAPI nor SQLAlchemy, Alembic or Pydantic is imported."""
    script = """
import sys
from fastapi_asyncdb.cli.main import app
try:
    app(["--help"])
except SystemExit as end:
    heavy = ("fastapi", "starlette", "sqlalchemy", "alembic", "pydantic", "pytest")
    print(end.code, [name for name in heavy if name in sys.modules])
"""
    assert python(script).splitlines()[-1] == "0 []"


def test_without_its_extra_it_says_how_to_install_it():
    """A console script is installed with the package, also where typer is not."""
    script = """
import sys
sys.modules["typer"] = None
from fastapi_asyncdb.cli.__main__ import run
run()
"""
    assert "pip install 'fastapi-asyncdb[cli]'" in python(script)


def test_version(asyncdb: Command):
    """The version of the package."""
    assert asyncdb("--version").out == f"asyncdb {__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_sentence_and_examples(asyncdb: Command, command: str):
    """Its help says what it does, and shows calls."""
    ended = asyncdb(command, "--help")
    assert ended.code == 0
    assert f"Usage: asyncdb {command}" in ended.words
    assert "Examples: $ asyncdb" in ended.words


def test_every_command_is_documented():
    """docs/cli.md has a section for each, with an example."""
    page = (ROOT / "docs" / "cli.md").read_text()
    sections = dict(re.findall(r"^### `(\w+)`\n(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL))
    assert sorted(sections) == sorted(COMMANDS)
    assert all(f"$ asyncdb {name}" in text for name, text in sections.items())


def test_options_of_every_command_may_be_written_last(asyncdb: Command):
    """Users add --debug to what they have typed."""
    first = asyncdb("--config", "nowhere.toml", "current")
    assert first == asyncdb("current", "--config", "nowhere.toml")
    assert "'nowhere.toml' names no file" in first.words
    assert asyncdb("current", "--config=nowhere.toml") == first


def test_wrong_usage_ends_with_2(asyncdb: Command):
    """As in every program; an error of the database ends with 1."""
    assert asyncdb("upgrade", "--nonsense").code == 2
    assert asyncdb("nonsense").code == 2
    assert asyncdb("current").code == 1


def test_pipes_get_plain_text(asyncdb_process: Command):
    """No colours and no wrapped lines, unless a variable asks for them."""
    assert "\x1b" not in asyncdb_process("--config", "nowhere.toml", "current").words
    forced = asyncdb_process("current", FORCE_COLOR="1")
    assert "\x1b" in forced.words
    assert "\x1b[31m" not in asyncdb_process("current", FORCE_COLOR="1", NO_COLOR="1").words


def test_completion_knows_the_databases(asyncdb: Command, project):
    """The names of the configuration."""
    project.configure('[tool.fastapi-asyncdb.databases.analytics]\nmetadata = "shop.models"\n')
    option = next(each for each in typer.main.get_command(app).params if each.name == "database")
    context = typer.Context(typer.main.get_command(app))
    assert [item.value for item in option.shell_complete(context, "a")] == ["analytics"]


def test_debug_shows_the_traceback(asyncdb: Command):
    """And nothing else changes."""
    with pytest.raises(ValueError, match="names no file"):
        asyncdb("current", "--debug", "--config", "nowhere.toml")
