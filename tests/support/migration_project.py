"""A project with models and migrations in a folder, under a package name of its own."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from fastapi_asyncdb import DatabaseSettings
from fastapi_asyncdb.migrations import MigrationConfig, Migrator
from fastapi_asyncdb.migrations.engines import Source

_NUMBERS = count(1)

MODELS = """
    from sqlalchemy import ForeignKey, MetaData, String
    from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

    from fastapi_asyncdb import models


    class Base(DeclarativeBase):
        metadata = MetaData(naming_convention=models.Base.metadata.naming_convention)


    class User(models.TimestampMixin, Base):
        __tablename__ = "users"

        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str] = mapped_column(String(50), unique=True)


    class Post(Base):
        __tablename__ = "posts"

        id: Mapped[int] = mapped_column(primary_key=True)
        user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
"""
ENV = "from fastapi_asyncdb.migrations import run_env\n\nrun_env()\n"
INI = """
    [alembic]
    script_location = %(here)s/migrations
    prepend_sys_path = %(here)s
    path_separator = os
"""


@dataclass(frozen=True)
class MigrationProject:
    """A folder with ``pyproject.toml``, a package of models, and ``migrations``."""

    folder: Path
    url: str
    package: str

    def write(self, name: str, text: str) -> Path:
        """Write a file, dedented."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip("\n"))
        return path

    def revision(
        self, name: str, after: str | Iterable[str] | None, up: str = "pass", down: str = "pass"
    ) -> Path:
        """Write a revision with these bodies."""
        lines = [
            f'"""Revision {name}."""',
            "import sqlalchemy as sa",
            "from alembic import op",
            f"revision, down_revision = {name!r}, {after!r}",
            "def upgrade():",
            textwrap.indent(textwrap.dedent(up), "    "),
            "def downgrade():",
            textwrap.indent(textwrap.dedent(down), "    "),
        ]
        return self.write(f"migrations/versions/{name}.py", "\n".join(lines) + "\n")

    def table(self, name: str, after: str | None) -> Path:
        """Write a revision that creates a table of this name."""
        return self.revision(
            name,
            after,
            f"op.create_table({name!r}, sa.Column('id', sa.Integer, primary_key=True))",
            f"op.drop_table({name!r})",
        )

    def migrator(self, database: str | None = None, **settings: object) -> Migrator:
        """Return the migrations on the test database."""
        config = MigrationConfig.load(database, file=self.folder / "pyproject.toml")
        return Migrator(config, source=Source(self.settings(**settings)))

    def settings(self, **settings: object) -> DatabaseSettings:
        """Return settings for the test database."""
        return DatabaseSettings(url=self.url, **settings)


def migration_project(folder: Path, url: str, *, models: str = MODELS) -> MigrationProject:
    """Write a project without migrations."""
    package = f"migrated_app_{next(_NUMBERS)}"
    project = MigrationProject(folder, url, package)
    project.write(
        "pyproject.toml",
        f"""
        [tool.fastapi-asyncdb]
        metadata = "{package}.models"
        """,
    )
    project.write(f"{package}/__init__.py", "")
    project.write(f"{package}/models.py", models)
    (folder / "migrations" / "versions").mkdir(parents=True)
    return project
