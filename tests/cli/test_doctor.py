"""``asyncdb doctor``: what it prints, and how it ends."""

import json

import pytest

from tests.cli.conftest import MODELS, Command, Project
from tests.support.databases import ONE_DRIVER


@pytest.fixture(autouse=True)
def configured(project: Project) -> None:
    """The project has a configuration, and a revision that is safe."""
    project.configure()
    project.revise()


def status(asyncdb: Command, check: str) -> str:
    """Return what the doctor says of one check."""
    report = json.loads(asyncdb("doctor", "--json").out)
    found: dict[str, str] = {each["check"]: each["status"] for each in report["findings"]}
    return found[check]


@pytest.mark.databases(*ONE_DRIVER)
def test_on_each_database(asyncdb: Command, database_url: str, monkeypatch: pytest.MonkeyPatch):
    """A table of all checks, with the migrations among them; it ends well if none has failed."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    assert asyncdb("upgrade").code == 0
    ended = asyncdb("doctor", "--workers", "2", "--instances", "2")
    assert ended.code == 0, ended.words
    for words in ("ok connection", "ok migrations", "ok models"):
        assert words in ended.words


def test_finds_migrations_that_are_pending(asyncdb: Command, project: Project):
    """That is a failure; its cure is a command."""
    assert asyncdb("upgrade").code == 0
    project.revise(id="0002", after="0001", upgrade="pass", downgrade="pass")
    ended = asyncdb("doctor")
    assert (ended.code, "Run 'asyncdb upgrade'." in ended.words) == (1, True)
    assert status(asyncdb, "migrations") == "fail"
    assert asyncdb("upgrade").code == 0
    assert status(asyncdb, "migrations") == "ok"


def test_compares_models_and_tables(asyncdb: Command, project: Project):
    """A column that only the models have is a warning: a release may be under way."""
    project.write("shop/models.py", MODELS + "    price: Mapped[int | None]\n")
    asyncdb("upgrade")
    assert status(asyncdb, "models") == "warn"


def test_without_a_server(asyncdb: Command, monkeypatch: pytest.MonkeyPatch, unused_port: int):
    """Its only finding has the cause, and not the password."""
    monkeypatch.setenv("DATABASE_URL", f"postgresql://ada:s3cret@127.0.0.1:{unused_port}/shop")
    ended = asyncdb("doctor")
    assert (ended.code, "fail connection" in ended.words) == (1, True)
    assert "s3cret" not in ended.words
