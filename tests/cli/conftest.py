"""A small application without migrations, and the command line on it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fastapi_asyncdb.cli.main import app
from tests.support.warm_python import WarmPython

ROOT = Path(__file__).parent.parent.parent
MAIN = """\
from fastapi import FastAPI
from fastapi_asyncdb import db_lifespan

app = FastAPI(lifespan=db_lifespan)
"""
MODELS = """\
from sqlalchemy import String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    pass


class Product(Base):
    __tablename__ = "products"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))
"""
CONFIGURATION = """\
[tool.fastapi-asyncdb]
app = "shop.main:app"
metadata = "shop.models"
"""
REVISION = '''\
"""{doc}"""

import sqlalchemy as sa
from alembic import op

revision = "{id}"
down_revision = {after!r}


def upgrade():
    {upgrade}


def downgrade():
    {downgrade}
'''
FIRST = {
    "id": "0001",
    "doc": "first tables",
    "after": None,
    "upgrade": 'op.create_table("products", sa.Column("id", sa.Integer, primary_key=True), '
    'sa.Column("name", sa.String(50), nullable=False))',
    "downgrade": 'op.drop_table("products")',
}


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    """Its standard output."""
    words: str
    """Both outputs, in one line."""


Command = Callable[..., Ended]


class Project:
    """A folder with the files of an application."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write("shop/__init__.py", "")
        self.write("shop/main.py", MAIN)
        self.write("shop/models.py", MODELS)

    def write(self, name: str, text: str) -> Path:
        """Write a file."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def read(self, name: str) -> str:
        """Read a file."""
        return (self.folder / name).read_text()

    def files(self) -> set[str]:
        """Return the names of all files, without those of Python's."""
        paths = (path for path in self.folder.rglob("*") if path.is_file())
        return {str(path.relative_to(self.folder)) for path in paths if path.suffix != ".pyc"}

    def configure(self, lines: str = "") -> None:
        """Write the configuration, with further lines."""
        self.write("pyproject.toml", CONFIGURATION + lines)

    def revise(self, **changes: Any) -> None:
        """Write a revision; the first one, but for the changes."""
        values = {**FIRST, **changes}
        self.write(f"migrations/versions/{values['id']}.py", REVISION.format(**values))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sqlite_url: str) -> Iterator[Project]:
    """The application in the working directory, on an empty SQLite file."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DATABASE_URL", sqlite_url)
    monkeypatch.delenv("ASYNCDB_CONFIG", raising=False)
    monkeypatch.setattr(sys, "path", sys.path[:])
    known = set(sys.modules)
    yield Project(folder)
    for name in set(sys.modules) - known:
        path = getattr(sys.modules[name], "__file__", None)
        if path is not None and Path(path).is_relative_to(tmp_path):
            del sys.modules[name]


@pytest.fixture
def asyncdb(project: Project) -> Command:
    """The command line in this process."""

    def invoke(*arguments: str, stdin: str | None = None) -> Ended:
        result = CliRunner().invoke(app, arguments, input=stdin, catch_exceptions=False)
        return Ended(result.exit_code, result.stdout, " ".join(result.output.split()))

    return invoke


@pytest.fixture
def asyncdb_process(project: Project, python: WarmPython) -> Command:
    """The command line in a process of its own, or another module's."""

    def run(*arguments: str, module: str = "fastapi_asyncdb.cli", **variables: str) -> Ended:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
        result = python.run("-m", module, *arguments, cwd=project.folder, env=environment)
        assert "Traceback" not in result.stderr, result.stderr
        words = " ".join((result.stdout + result.stderr).split())
        return Ended(result.returncode, result.stdout, words)

    return run
