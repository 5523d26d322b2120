"""The folder of the migrations: the one that the project has, or a new one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import fastapi_asyncdb
from fastapi_asyncdb.cli.init.plan import Plan, Project

_TEMPLATES = Path(fastapi_asyncdb.__file__).parent / "migrations" / "scripts"
_INI = """\
# The URL of the database is not here: it comes from DATABASE_URL.
[alembic]
script_location = %(here)s/{}
"""
_DEPTH = 4
"""Folders in which an alembic.ini is looked for: ``alembic.ini`` to ``backend/app/db/alembic.ini``."""


@dataclass(frozen=True, slots=True)
class Scripts:
    """Where the migrations are, from the project's folder."""

    folder: str
    ini: str | None
    """The alembic.ini, if there is one or will be."""
    adopted: bool = False
    """Whether the project has them already: they stay as they are."""

    @property
    def lines(self) -> dict[str, str]:
        """The line of ``[tool.fastapi-asyncdb]``; none where the default finds them."""
        if self.ini is not None:
            return {} if self.ini == "alembic.ini" else {"alembic": self.ini}
        return {} if self.folder == "migrations" else {"migrations": self.folder}

    def add_to(self, plan: Plan) -> None:
        """Add the files of a new folder."""
        if self.adopted:
            return
        if self.ini is not None:
            plan.create(self.ini, _INI.format(self.folder))
        for name in ("env.py", "script.py.mako"):
            plan.create(f"{self.folder}/{name}", (_TEMPLATES / name).read_text("utf-8"))
        plan.create(f"{self.folder}/versions/.gitkeep", "\n")


def find_scripts(project: Project) -> Scripts:
    """Return the migrations that the project has, or is going to have."""
    folder = project.folder
    if project.name is not None:
        name = f"migrations_{project.name}"
        return Scripts(name, None, adopted=(folder / name / "env.py").is_file())
    inis = [
        path for path in _search(folder, "alembic.ini") if "[alembic]" in path.read_text("utf-8")
    ]
    if inis:
        return Scripts(str(inis[0].parent), str(inis[0].relative_to(folder)), adopted=True)
    environments = [path for path in _search(folder, "env.py") if _is_environment(path)]
    if environments:
        return Scripts(str(environments[0].parent.relative_to(folder)), None, adopted=True)
    return Scripts("migrations", "alembic.ini")


def _search(folder: Path, name: str) -> Iterator[Path]:
    """Yield the files of a name, the nearest first."""
    for depth in range(_DEPTH):
        for path in sorted(folder.glob("*/" * depth + name)):
            parts = path.relative_to(folder).parts
            if not any(part.startswith(".") or part in ("node_modules", "venv") for part in parts):
                yield path


def _is_environment(path: Path) -> bool:
    return (path.parent / "versions").is_dir() or (path.parent / "script.py.mako").is_file()
