"""The code in the README runs, and its table tells the truth."""

import re
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from fastapi import FastAPI

import fastapi_asyncdb
from fastapi_asyncdb import Base, DatabaseSettings
from tests.contract.support import running

README = Path(__file__).parent.parent / "README.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.DOTALL | re.MULTILINE)


def run(block: str) -> dict[str, Any]:
    """Run one block as a module of its own."""
    namespace: dict[str, Any] = {"__name__": f"readme_{uuid4().hex}"}
    exec(compile(block, str(README), "exec"), namespace)
    return namespace


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Each block runs in an empty folder, and what it declares is forgotten."""
    monkeypatch.chdir(tmp_path)
    known = set(Base.metadata.tables)
    yield
    for name in set(Base.metadata.tables) - known:
        Base.metadata.remove(Base.metadata.tables[name])


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_every_block_runs(block: str):
    """Newcomers paste it: it has to work as it stands."""
    run(block)


async def test_the_application_stores_a_hero(database_url: str, monkeypatch: pytest.MonkeyPatch):
    """The first block is a working application, on SQLite and with DATABASE_URL on PostgreSQL."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    app: FastAPI = run(BLOCKS[0])["app"]
    for expected in (["ada"], ["ada", "ada"]):
        async with running(app) as http:
            assert (await http.post("/heroes", params={"name": "ada"})).status_code == 201
            assert (await http.get("/heroes")).json() == expected


async def test_the_application_with_several_databases_answers():
    """Two handles, one lifespan, its state."""
    app: FastAPI = run(next(block for block in BLOCKS if "analytics" in block))["app"]
    async with running(app) as http:
        assert (await http.get("/")).json() == 42


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
