"""The sources of a project: parsed, never imported; which name stands for what."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_NO_SOURCES = {"node_modules", "venv", "env", "build", "dist", "site-packages", "tests", "test"}
_MOVES = 20
"""From a name to the one that it is imported from, at most: two modules may import each other."""


@dataclass(frozen=True, slots=True)
class Source:
    """One module of the project."""

    path: Path
    """From the project's folder."""
    module: str
    """Its name, as ``import`` has it."""
    tree: ast.Module
    names: dict[str, str]
    """Full names of what it imports, by the names that it uses."""
    stars: list[str]
    """Modules of which it imports every name."""

    def full_name(self, node: ast.expr) -> str:
        """Return the full name of an expression such as ``orm.DeclarativeBase``; empty for others."""
        if isinstance(node, ast.Name):
            return self.names.get(node.id, f"{self.module}.{node.id}")
        if isinstance(node, ast.Attribute) and (owner := self.full_name(node.value)):
            return f"{owner}.{node.attr}"
        return self.full_name(node.value) if isinstance(node, ast.Subscript) else ""

    def place(self, node: ast.stmt) -> str:
        """Return ``file:line``."""
        return f"{self.path}:{node.lineno}"

    def assignments(self) -> Iterator[tuple[str, ast.expr, ast.stmt]]:
        """Yield the name, the value and the statement of each assignment of the module."""
        for node in self.tree.body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                yield node.targets[0].id, node.value, node
            elif (
                isinstance(node, ast.AnnAssign)
                and isinstance(node.target, ast.Name)
                and node.value is not None
            ):
                yield node.target.id, node.value, node

    def call_of(self, node: ast.expr) -> str:
        """Return the full name of the function that an expression calls; empty for no call."""
        return self.full_name(node.func) if isinstance(node, ast.Call) else ""


@dataclass(frozen=True, slots=True)
class Sources:
    """All modules below a folder, without environments, tests and migrations."""

    modules: dict[str, Source] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)
    """``file:line`` and the reason, of files that are no Python."""

    def origin(self, name: str) -> str:
        """Return the full name under which an object is defined, from one that it is imported by."""
        for _ in range(_MOVES):
            source, attribute = self._split(name)
            if source is None:
                return name
            if attribute in source.names:
                name = source.names[attribute]
            elif source.stars and not self._defines(source, attribute):
                name = self._through_stars(source, attribute) or name
                break
            else:
                break
        return name

    def _split(self, name: str) -> tuple[Source | None, str]:
        module, _, attribute = name.rpartition(".")
        return self.modules.get(module), attribute

    def _through_stars(self, source: Source, attribute: str) -> str | None:
        for star in source.stars:
            module = self.modules.get(star)
            if module is not None and self._defines(module, attribute):
                return f"{star}.{attribute}"
        return None

    @staticmethod
    def _defines(source: Source, name: str) -> bool:
        classes = (node.name for node in source.tree.body if isinstance(node, ast.ClassDef))
        return name in classes or any(name == found for found, _, _ in source.assignments())


def read_sources(folder: Path) -> Sources:
    """Parse the modules of a project.

    Args:
        folder: Of the project. Modules are named from its ``src``, if that is no package, or from it.
    """
    sources = Sources()
    for path in sorted(_files(folder)):
        name = _module_name(folder, path)
        if name is not None:
            _read(sources, folder, path, name)
    return sources


def _files(folder: Path) -> Iterator[Path]:
    for here, folders, files in os.walk(folder):
        folders[:] = [each for each in folders if _is_searched(Path(here, each))]
        for file in files:
            if file.endswith(".py") and not file.startswith("test_") and file != "conftest.py":
                yield Path(here, file)


def _is_searched(folder: Path) -> bool:
    return not (
        folder.name.startswith((".", "__"))
        or folder.name in _NO_SOURCES
        or (folder / "pyvenv.cfg").exists()
        or ((folder / "env.py").exists() and (folder / "script.py.mako").exists())
    )


def _module_name(folder: Path, path: Path) -> str | None:
    src = folder / "src"
    root = src if path.is_relative_to(src) and not (src / "__init__.py").exists() else folder
    parts = list(path.relative_to(root).with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    if not parts or parts[-1] == "__main__" or not all(part.isidentifier() for part in parts):
        return None
    return ".".join(parts)


def _read(sources: Sources, folder: Path, path: Path, name: str) -> None:
    shown = path.relative_to(folder)
    try:
        tree = ast.parse(path.read_bytes(), path)
    except (SyntaxError, ValueError) as error:
        sources.unreadable.append(f"{shown}:{getattr(error, 'lineno', None) or 1}: {error}")
        return
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    names, stars = _imports(tree, package)
    sources.modules[name] = Source(shown, name, tree, names, stars)


def _imports(tree: ast.Module, package: str) -> tuple[dict[str, str], list[str]]:
    names: dict[str, str] = {}
    stars: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.partition(".")[0]
                names[alias.asname or first] = alias.name if alias.asname else first
        elif isinstance(node, ast.ImportFrom):
            module = _absolute(node, package)
            for alias in node.names:
                if alias.name == "*":
                    stars.append(module)
                else:
                    names[alias.asname or alias.name] = f"{module}.{alias.name}"
    return names, stars


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parts = package.split(".") if package else []
    parents = parts[: len(parts) - node.level + 1]
    return ".".join([*parents, *([node.module] if node.module else [])])
