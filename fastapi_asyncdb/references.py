"""``module:attribute``, the form in which configuration files name objects of a project."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

from fastapi_asyncdb.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Reference:
    """One name of a configuration file, with what a message needs to say where it is written."""

    line: str
    """The key of the line."""
    name: str
    file: str
    """The name of the configuration file."""

    def load(self) -> Any:
        """Import the module and return the attribute.

        Raises:
            ConfigurationError: the name has another form, or there is nothing under it.
            Exception: the module's own, if it cannot be imported.
        """
        module, _, attribute = self.name.partition(":")
        if not (module and attribute):
            raise ConfigurationError(
                f"{self} is not of the form module:attribute. Correct the line: app.main:app, for "
                "example."
            )
        found: Any = self.load_module()
        for part in attribute.split("."):
            if not hasattr(found, part):
                raise ConfigurationError(
                    f"{self} names an attribute that is not there: {module} has no {attribute}. It was "
                    "renamed, or is made later: correct the line."
                )
            found = getattr(found, part)
        return found

    def load_coroutine_function(self, wanted: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        """Return the attribute if it is an ``async def``; as ``load()`` for errors.

        Args:
            wanted: What the line should name, for the message.
        """
        found: Callable[..., Coroutine[Any, Any, Any]] = self.load()
        if inspect.iscoroutinefunction(found):
            return found
        raise self.wrong(found, wanted)

    def load_module(self) -> ModuleType:
        """Import the module and return it; as ``load()`` for errors."""
        module = self.name.partition(":")[0]
        try:
            return import_module(module)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module}.".startswith(f"{error.name}."):
                raise  # The module is there; what it imports is not.
            raise ConfigurationError(
                f"{self} names a module that cannot be found: {error}. It is misspelled, or its folder "
                'is not on the import path. Correct the line, or add the folder: pythonpath = ["."] for '
                "pytest."
            ) from error

    def wrong(self, found: object, wanted: str) -> ConfigurationError:
        """Return the error for an object of the wrong kind.

        Args:
            found: The object.
            wanted: What the line should name.
        """
        return ConfigurationError(
            f"{self} is of the wrong kind: it names a {type(found).__name__}. Name {wanted}."
        )

    def __str__(self) -> str:
        return f"{self.line} = {self.name!r} in {self.file}"
