"""What is wrong in a project or a database: the fact, the cause, the next step, and no traceback."""

import pytest

from tests.cli.conftest import CONFIGURATION, MODELS, Command, Project

SECRET = "s3cret%40word"


def refused(asyncdb: Command, *arguments: str) -> str:
    """Return the words of a command that fails."""
    ended = asyncdb(*arguments)
    assert ended.code == 1
    assert "Traceback" not in ended.words
    assert "Error: " in ended.words
    return ended.words


def test_no_configuration(asyncdb: Command):
    """Outside of a project."""
    assert "Run 'asyncdb init'" in refused(asyncdb, "upgrade")


def test_no_metadata(asyncdb: Command, project: Project):
    """Only what compares needs the models."""
    project.write("pyproject.toml", "[tool.fastapi-asyncdb]\n")
    project.revise()
    assert asyncdb("upgrade").code == 0
    assert "metadata = " in refused(asyncdb, "check")
    assert "metadata = " in refused(asyncdb, "revision", "-m", "x")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("shop.nothing", "shop.nothing"),
        ("shop.models:Nothing.metadata", "no Nothing.metadata"),
        ("shop.main:app", "FastAPI"),
        ("shop.models:Base:x", "Base:x"),
    ],
)
def test_metadata_that_is_none(asyncdb: Command, project: Project, name: str, words: str):
    """The line and its file are named."""
    project.write("pyproject.toml", CONFIGURATION.replace("shop.models", name))
    project.revise()
    message = refused(asyncdb, "check")
    assert words in message
    assert f"metadata = '{name}' in pyproject.toml" in message


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (f"{MODELS}\n1 / 0\n", "shop/models.py:14"),
        (f"{MODELS}\nimport nothing_of_this_name\n", "shop/models.py:14"),
        (f"{MODELS}\nclass Broken(:\n", "models.py:14"),
    ],
)
def test_models_that_do_not_import(asyncdb: Command, project: Project, text: str, place: str):
    """The line of the user's own file."""
    project.configure()
    project.revise()
    project.write("shop/models.py", text)
    assert place in refused(asyncdb, "check")


def test_a_database_ahead_of_the_code(asyncdb: Command, project: Project):
    """A newer release has migrated, or another project."""
    project.configure()
    project.revise()
    project.revise(id="0002", after="0001", upgrade="pass", downgrade="pass")
    asyncdb("upgrade")
    (project.folder / "migrations" / "versions" / "0002.py").unlink()
    assert "a newer release" in refused(asyncdb, "downgrade", "base")
    assert "this code has no such revision" in asyncdb("current").words


def test_a_database_that_another_tool_migrates(asyncdb: Command, project: Project):
    """The tables are there, and no revision is noted."""
    project.configure()
    project.revise()
    asyncdb("upgrade")
    asyncdb("stamp", "--purge", "base")
    assert "asyncdb stamp" in refused(asyncdb, "upgrade")


def test_a_revision_that_fails(asyncdb: Command, project: Project):
    """The file and line, and what became of the database; those before it stay."""
    project.configure()
    project.revise()
    project.revise(id="0002", after="0001", upgrade='op.drop_table("nothing")', downgrade="pass")
    message = refused(asyncdb, "upgrade")
    for words in ("Revision 0002 failed", "0002.py:11", "rolled back"):
        assert words in message
    assert asyncdb("current").out.startswith("0001")


def test_a_script_that_is_no_python(asyncdb: Command, project: Project):
    """The file and line."""
    project.configure()
    project.revise(upgrade="op.create_table(")
    assert "0001.py" in refused(asyncdb, "upgrade")


@pytest.mark.parametrize("command", ["upgrade", "current", "check", "ping", "seed", "shell"])
def test_no_server(
    asyncdb: Command,
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    unused_port: int,
    command: str,
):
    """The password is not shown."""
    project.configure('seed = "shop.seed:seed"\n')
    project.write("shop/seed.py", "async def seed(session): ...\n")
    project.revise()
    monkeypatch.setenv("DATABASE_URL", f"postgresql://ada:{SECRET}@127.0.0.1:{unused_port}/shop")
    monkeypatch.setenv("DATABASE_STARTUP_TIMEOUT", "0")
    message = refused(asyncdb, command, *(["-c", "pass"] if command == "shell" else []))
    assert str(unused_port) in message
    assert "s3cret" not in message


def test_wrong_settings(asyncdb: Command, project: Project, monkeypatch: pytest.MonkeyPatch):
    """The variable is named, and its value is not shown."""
    project.configure()
    project.revise()
    monkeypatch.setenv("DATABASE_POOL_SIZE", "s3cret")
    message = refused(asyncdb, "upgrade")
    assert "DATABASE_POOL_SIZE" in message
    assert "s3cret" not in message


def test_an_unknown_database(asyncdb: Command, project: Project):
    """Those that there are are listed."""
    project.configure()
    assert "There is no database 'reports'" in refused(asyncdb, "--database", "reports", "upgrade")
