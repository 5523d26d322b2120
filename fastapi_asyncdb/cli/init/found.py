"""What an application consists of: its FastAPI instances, its databases and its models."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fastapi_asyncdb.cli.init.sources import Source, Sources

_APPLICATIONS = {"fastapi.FastAPI", "fastapi.applications.FastAPI"}
_DATABASES = {"fastapi_asyncdb.Database", "fastapi_asyncdb.database.Database"}
_CONFIGURES = {
    "fastapi_asyncdb.default_database.configure",
    "fastapi_asyncdb.default.default_database.configure",
}
_OWN_BASES = {
    "fastapi_asyncdb.Base",
    "fastapi_asyncdb.models.Base",
    "fastapi_asyncdb.models.base.Base",
    "sqlmodel.SQLModel",
    "sqlmodel.main.SQLModel",
}
"""Bases of other packages that have a MetaData."""
_MAKES_BASE = ("DeclarativeBase", "DeclarativeBaseNoMeta")
_RETURNS_BASE = ("declarative_base", "automap_base", "generate_base")
_MODEL_PACKAGES = ("models", "tables", "entities", "orm")


@dataclass(frozen=True, slots=True)
class Found:
    """One thing that was found."""

    names: tuple[str, ...]
    """What the configuration has to say: ``shop.main:app``, or the modules of models."""
    place: str
    """``file:line`` of the first place, and what it is."""


def find_applications(sources: Sources) -> list[Found]:
    """Return the FastAPI instances; the functions that return one, if there is none."""
    instances = list(_calls(sources, _APPLICATIONS))
    return instances or list(_factories(sources))


def find_databases(sources: Sources) -> list[Found]:
    """Return the ``Database`` objects of the application, and the default one where it is configured."""
    return [*_calls(sources, _DATABASES), *_configured(sources)]


def find_models(sources: Sources) -> list[Found]:
    """Return the modules of models, one entry for each declarative base or ``MetaData``."""
    return [
        Found(_names_for(modules), f"{next(iter(modules.values()))}, with the base {base}")
        for base, modules in model_modules(sources).items()
    ]


def model_modules(sources: Sources) -> dict[str, dict[str, str]]:
    """Return the modules of models with the place of the first one in each, by their base."""
    found: dict[str, dict[str, str]] = {}
    for base, source, node in _models(sources):
        found.setdefault(base, {}).setdefault(source.module, source.place(node))
    return found


def _calls(sources: Sources, functions: set[str]) -> Iterator[Found]:
    for source in sources.modules.values():
        for name, value, node in source.assignments():
            if sources.origin(source.call_of(value)) in functions:
                yield Found((f"{source.module}:{name}",), source.place(node))


def _configured(sources: Sources) -> Iterator[Found]:
    """Yield ``default_database`` by the module that configures it, which has to be imported for that."""
    for source in sources.modules.values():
        for node in source.tree.body:
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
                function = node.value.func
                known = sources.origin(source.full_name(function)) in _CONFIGURES
                if known and isinstance(function, ast.Attribute):
                    name = ast.unparse(function.value)
                    yield Found((f"{source.module}:{name}",), source.place(node))


def _factories(sources: Sources) -> Iterator[Found]:
    for source in sources.modules.values():
        for node in source.tree.body:
            if (
                isinstance(node, ast.FunctionDef)
                and node.returns is not None
                and source.full_name(node.returns) in _APPLICATIONS
            ):
                yield Found((f"{source.module}:{node.name}()",), source.place(node))


# --- Models ---------------------------------------------------------------------------------------


def _models(sources: Sources) -> Iterator[tuple[str, Source, ast.stmt]]:
    """Yield the base, the module and the statement of each model and each ``Table``."""
    for source in sources.modules.values():
        for node in source.tree.body:
            if isinstance(node, ast.ClassDef):
                base = _base_of(sources, source, node)
                if base is not None and _has_table(source, node, base):
                    yield base, source, node
        yield from _tables(sources, source)


def _tables(sources: Sources, source: Source) -> Iterator[tuple[str, Source, ast.stmt]]:
    for _, value, node in source.assignments():
        if isinstance(value, ast.Call) and len(value.args) > 1:
            function = source.call_of(value)
            if function.startswith("sqlalchemy.") and function.endswith(".Table"):
                owner = source.full_name(value.args[1]).removesuffix(".metadata")
                yield sources.origin(owner), source, node


def _has_table(source: Source, node: ast.ClassDef, base: str) -> bool:
    """Return whether a class is a model: neither the base itself nor abstract."""
    if base.startswith("sqlmodel."):
        return any(each.arg == "table" for each in node.keywords)
    names = (
        target.id
        for each in node.body
        if isinstance(each, ast.Assign)
        for target in each.targets
        if isinstance(target, ast.Name)
    )
    return base != f"{source.module}.{node.name}" and "__abstract__" not in names


def _base_of(
    sources: Sources, source: Source, node: ast.ClassDef, seen: frozenset[str] = frozenset()
) -> str | None:
    """Return the full name of the declarative base of a class; ``None`` if it has none."""
    own = f"{source.module}.{node.name}"
    for base in node.bases:
        name = sources.origin(source.full_name(base))
        if name in _OWN_BASES:
            return name
        if name.startswith("sqlalchemy.") and name.rpartition(".")[2] in _MAKES_BASE:
            return own
        if name not in seen and (found := _inherited(sources, name, seen | {own})):
            return found
    return None


def _inherited(sources: Sources, name: str, seen: frozenset[str]) -> str | None:
    module, _, attribute = name.rpartition(".")
    source = sources.modules.get(module)
    if source is None:
        return None
    for assigned, value, _ in source.assignments():
        if assigned == attribute and source.call_of(value).rpartition(".")[2] in _RETURNS_BASE:
            return name
    for node in source.tree.body:
        if isinstance(node, ast.ClassDef) and node.name == attribute:
            return _base_of(sources, source, node, seen)
    return None


def _names_for(modules: Iterable[str]) -> tuple[str, ...]:
    """Return the package of the models, if there is one of nothing else; or the modules."""
    found = sorted(modules)
    packages = [name.split(".")[:-1] for name in found]
    common = _common(packages if len(found) == 1 else [name.split(".") for name in found])
    if common and (common[-1] in _MODEL_PACKAGES or (len(found) > 1 and len(common) > 1)):
        return (".".join(common),)
    return tuple(found)


def _common(paths: list[list[str]]) -> list[str]:
    """Return the parts at the front that all paths have."""
    common = paths[0]
    for path in paths[1:]:
        same = [a == b for a, b in zip(common, path, strict=False)]
        common = common[: same.index(False) if False in same else len(same)]
    return common
