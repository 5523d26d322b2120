"""What ``init`` finds in sources, which it never imports."""

from pathlib import Path

import pytest

from fastapi_asyncdb.cli.init.found import find_applications, find_databases, find_models
from fastapi_asyncdb.cli.init.sources import read_sources

BASE = "from sqlalchemy.orm import DeclarativeBase\nclass Base(DeclarativeBase): ...\n"
USER = "class User(Base):\n    __tablename__ = 'users'\n"


def write(folder: Path, files: dict[str, str]) -> None:
    """Write modules."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("from fastapi import FastAPI\napp = FastAPI()", ["m:app"]),
        ("import fastapi as f\napi: f.FastAPI = f.FastAPI()", ["m:api"]),
        ("from fastapi import FastAPI as F\ndef make() -> F: ...", ["m:make()"]),
        ("from fastapi import FastAPI\ndef make() -> FastAPI: ...\napp = FastAPI()", ["m:app"]),
        ("class FastAPI: ...\napp = FastAPI()", []),
        ("from fastapi import FastAPI\ndef test():\n    app = FastAPI()", []),
    ],
)
def test_applications(tmp_path: Path, text: str, expected: list[str]):
    """Instances of the module; factories only if there is no instance."""
    write(tmp_path, {"m.py": text})
    found = find_applications(read_sources(tmp_path))
    assert [name for each in found for name in each.names] == expected


def test_databases(tmp_path: Path):
    """The Database of the application, for the line ``database``."""
    write(tmp_path, {"db.py": "from fastapi_asyncdb import Database\nmain = Database()\n"})
    assert [each.names for each in find_databases(read_sources(tmp_path))] == [("db:main",)]


@pytest.mark.parametrize(
    "lines",
    [
        "from fastapi_asyncdb import default_database\ndefault_database.configure(None)\n",
        "import fastapi_asyncdb as a\na.default_database.configure(None)\n",
    ],
)
def test_default_database_is_that_of_the_module_that_configures_it(tmp_path: Path, lines: str):
    """Commands import that module, so that they connect where the application does."""
    write(tmp_path, {"db.py": lines})
    [found] = find_databases(read_sources(tmp_path))
    assert found.names[0].startswith("db:")
    assert found.names[0].endswith("default_database")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"m.py": BASE + USER}, [("m",)]),
        (
            {"m.py": "import sqlalchemy.orm as o\nclass Base(o.DeclarativeBase): ...\n" + USER},
            [("m",)],
        ),
        (
            {"m.py": "from sqlalchemy.orm import declarative_base as d\nBase = d()\n" + USER},
            [("m",)],
        ),
        ({"m.py": "from fastapi_asyncdb import Base\n" + USER}, [("m",)]),
        ({"m.py": "import fastapi_asyncdb as a\nclass User(a.Base): ..."}, [("m",)]),
        ({"m.py": BASE + "class Named(Base):\n    __abstract__ = True\n"}, []),
        ({"m.py": BASE}, []),
        ({"m.py": "class Base: ...\n" + USER}, []),
        ({"m.py": "from pydantic import BaseModel as Base\n" + USER}, []),
        (
            {"m.py": "from sqlmodel import SQLModel\nclass User(SQLModel, table=True): ..."},
            [("m",)],
        ),
        ({"m.py": "from sqlmodel import SQLModel\nclass UserIn(SQLModel): ..."}, []),
        (
            {
                "m.py": "from sqlmodel import SQLModel\nclass B(SQLModel): ...\nclass U(B, table=1): ..."
            },
            [("m",)],
        ),
        (
            {
                "m.py": "from sqlalchemy import MetaData, Table\nmeta = MetaData()\nt = Table('t', meta)"
            },
            [("m",)],
        ),
        (
            {"m.py": BASE + "from sqlalchemy import Table\nt = Table('t', Base.metadata)\n" + USER},
            [("m",)],
        ),
        # Through other modules: relative, renamed, in a package, with a star.
        ({"a/base.py": BASE, "a/user.py": "from .base import Base\n" + USER}, [("a.user",)]),
        ({"a/base.py": BASE, "a/b/user.py": "from ..base import Base\n" + USER}, [("a.b.user",)]),
        (
            {
                "a/__init__.py": "from .base import Base",
                "a/base.py": BASE,
                "u.py": "from a import Base as Base\n" + USER,
            },
            [("u",)],
        ),
        ({"base.py": BASE, "u.py": "from base import *\n" + USER}, [("u",)]),
        ({"a.py": "from b import Base\n" + USER, "b.py": "from a import Base\n"}, []),
        # One package of models is named as a whole, so that a new module needs no line.
        (
            {
                "a/models/base.py": BASE,
                "a/models/user.py": "from a.models.base import Base\n" + USER,
            },
            [("a.models",)],
        ),
        (
            {
                "a/base.py": BASE,
                "a/users/models.py": "from a.base import Base\n" + USER,
                "a/items/models.py": "from a.base import Base\n" + USER,
            },
            [("a.items.models", "a.users.models")],
        ),
        # Two bases are two entries.
        ({"a.py": BASE + USER, "b.py": BASE + USER}, [("a",), ("b",)]),
        # Where no models of the application are.
        ({"tests/m.py": BASE + USER, ".venv/m.py": BASE + USER, "test_m.py": BASE + USER}, []),
        ({"env/pyvenv.cfg": "", "env/lib/m.py": BASE + USER, "no-module.py": BASE + USER}, []),
        ({"db/env.py": BASE + USER, "db/script.py.mako": "", "node_modules/m.py": BASE + USER}, []),
    ],
)
def test_models(tmp_path: Path, files: dict[str, str], expected: list[tuple[str, ...]]):
    """Modules of models, by their declarative base."""
    write(tmp_path, files)
    assert [each.names for each in find_models(read_sources(tmp_path))] == expected


def test_places(tmp_path: Path):
    """Each has the line that a person looks at."""
    write(tmp_path, {"shop/m.py": BASE + USER})
    (found,) = find_models(read_sources(tmp_path))
    assert found.place == "shop/m.py:3, with the base shop.m.Base"
