"""The tables of a project's models: imports the modules that a configuration names."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Iterator
from importlib import import_module
from pkgutil import walk_packages
from types import ModuleType

from sqlalchemy import MetaData

from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.references import Reference
from fastapi_asyncdb.tracebacks import place_of

_WANTED = "a MetaData or a declarative base: app.models:Base.metadata, or app.models:Base"


def load_metadata(references: Iterable[Reference]) -> list[MetaData]:
    """Import the models that are named; return their tables, each ``MetaData`` once.

    Args:
        references: Each names a ``MetaData``, a declarative base, or a module or package whose models
            are imported.

    Raises:
        ConfigurationError: one names no tables, or cannot be imported.
    """
    found: dict[int, MetaData] = {}
    for reference in references:
        for metadata in _load(reference):
            found[id(metadata)] = metadata
    return list(found.values())


def _load(reference: Reference) -> list[MetaData]:
    try:
        if ":" not in reference.name:
            return _of_modules(reference)
        named = reference.load()
    except ConfigurationError:
        raise
    except Exception as error:
        raise ConfigurationError(
            f"{reference} names a module that cannot be imported: {type(error).__name__}: {error}"
            f"{_place(error)}. Correct the module: it has to be importable without the application."
        ) from error
    metadata = getattr(named, "metadata", named)
    if isinstance(metadata, MetaData):
        return [metadata]
    raise reference.wrong(named, _WANTED)


def _of_modules(reference: Reference) -> list[MetaData]:
    """Return every ``MetaData`` with tables that a module or the modules of a package mention."""
    modules = list(_modules(reference.load_module()))
    found = {id(each): each for module in modules for each in _mentioned(module) if each.tables}
    if found:
        return list(found.values())
    raise ConfigurationError(
        f"{reference} names {len(modules)} modules without a model. Name the module or package that "
        f"defines the models, or {_WANTED}."
    )


def _modules(module: ModuleType) -> Iterator[ModuleType]:
    yield module
    for each in walk_packages(getattr(module, "__path__", ()), f"{module.__name__}."):
        if not each.name.endswith(".__main__"):
            yield import_module(each.name)


def _mentioned(module: ModuleType) -> Iterator[MetaData]:
    for value in vars(module).values():
        metadata = getattr(value, "metadata", None) if isinstance(value, type) else value
        if isinstance(metadata, MetaData):
            yield metadata


def _place(error: BaseException) -> str:
    """Return the last line of the project's own code that the error has passed."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    places = [place for frame in reversed(frames) if (place := place_of(frame)) is not None]
    if isinstance(error, SyntaxError) and error.filename:
        return f", in {error.filename}:{error.lineno}"
    return f", in {places[0]}" if places else ""
