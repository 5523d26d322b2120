"""The code in the README and in docs/ runs, and the README's table tells the truth."""

import logging
import re
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from fastapi import FastAPI

import fastapi_asyncdb
from fastapi_asyncdb import Base, DatabaseSettings
from tests.support.application import running
from tests.support.databases import ONE_DRIVER

pytestmark = pytest.mark.databases(*ONE_DRIVER)

README = Path(__file__).parent.parent / "README.md"
CONTRIBUTING = README.parent / "CONTRIBUTING.md"
PAGES = [README, CONTRIBUTING, *sorted((README.parent / "docs").glob("*.md"))]


def blocks(page: Path) -> list[str]:
    """Return the page's blocks of Python."""
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def run(block: str, page: Path = README) -> dict[str, Any]:
    """Run one block as a module of its own."""
    namespace: dict[str, Any] = {"__name__": f"{page.stem.lower()}_{uuid4().hex}"}
    exec(compile(block, str(page), "exec"), namespace)
    return namespace


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Each block runs in an empty folder, and what it declares is forgotten."""
    monkeypatch.chdir(tmp_path)
    known = set(Base.metadata.tables)
    yield
    for name in set(Base.metadata.tables) - known:
        Base.metadata.remove(Base.metadata.tables[name])


@pytest.fixture(autouse=True)
def _logging_as_before():
    """A block may configure logging, as an application would."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    named = {name: logging.getLogger(name).level for name in ("sqlalchemy", "sqlalchemy.pool")}
    yield
    root.setLevel(level)
    root.handlers[:] = handlers
    for name, before in named.items():
        logging.getLogger(name).setLevel(before)


@pytest.mark.parametrize(
    ("page", "block"),
    [
        pytest.param(page, block, id=f"{page.stem}-{number}")
        for page in PAGES
        for number, block in enumerate(blocks(page))
    ],
)
def test_every_block_runs(page: Path, block: str):
    """Newcomers paste it: it has to work as it stands."""
    run(block, page)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_between_pages_lead_somewhere(page: Path):
    """A page that is renamed is renamed everywhere."""
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


async def test_the_application_stores_a_hero(database_url: str, monkeypatch: pytest.MonkeyPatch):
    """The first block is a working application, on SQLite and with DATABASE_URL on PostgreSQL."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    app: FastAPI = run(blocks(README)[0])["app"]
    for expected in (["ada"], ["ada", "ada"]):
        async with running(app) as http:
            assert (await http.post("/heroes", params={"name": "ada"})).status_code == 201
            assert (await http.get("/heroes")).json() == expected


async def test_the_application_with_several_databases_answers():
    """Two handles, one lifespan, its state."""
    app: FastAPI = run(next(block for block in blocks(README) if "analytics" in block))["app"]
    async with running(app) as http:
        assert (await http.get("/")).json() == 42


async def test_the_application_with_hooks_tells_of_what_was_committed():
    """Before the response, in the background, and after a rollback."""
    namespace = run(blocks(README.parent / "docs" / "hooks.md")[0])
    async with running(namespace["app"]) as http:
        assert (await http.post("/orders", params={"item": "tea"})).status_code == 201
        assert (await http.post("/orders", params={"item": "nothing"})).status_code == 500
    assert namespace["sent"] == ["ordered tea", "mailed tea", "refused nothing"]


def test_commands_are_targets_of_make():
    """What a page says to type exists, and the help shows it."""
    makefile = (README.parent / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))
    commands = re.findall(
        r"(?:`|\$ )make ((?:[a-z-]+ ?)+)", README.read_text() + CONTRIBUTING.read_text()
    )
    assert {word for command in commands for word in command.split()} | {"help"} <= targets
    assert {"run", "test", "lock", "test-newest"} <= {word for c in commands for word in c.split()}


def test_settings_table_is_complete():
    """Each field stands in the table with its default."""
    rows = dict(re.findall(r"^\| `DATABASE_(\w+)` \| `(.*?)` \|", README.read_text(), re.MULTILINE))
    fields = {
        name.upper(): str(getattr(field.default, "get_secret_value", lambda f=field: f.default)())
        for name, field in DatabaseSettings.model_fields.items()
    }
    assert rows == fields


def test_version_is_in_the_changelog_format():
    """The changelog names what comes next, newest first."""
    changelog = (README.parent / "CHANGELOG.md").read_text()
    assert re.search(r"^## (Unreleased|\[?\d)", changelog, re.MULTILINE)
    assert re.fullmatch(r"\d+\.\d+\.\d+", fastapi_asyncdb.__version__)
