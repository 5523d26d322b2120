"""Keys and tags from the arguments of a function, by a template."""

from __future__ import annotations

import datetime
import inspect
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from enum import Enum
from functools import reduce
from string import Formatter
from typing import Any
from urllib.parse import quote
from uuid import UUID

from fastapi_asyncdb.errors import ConfigurationError

_SIMPLE = (str, int, float, Decimal, UUID, datetime.date, datetime.time, Enum)


def cache_key(template: str, /, **values: object) -> str:
    """Fill in a template of a key or tag, as ``cached`` does: ``cache_key("user:{id}", id=7)``.

    Values are quoted, so that a ``:`` in one of them cannot lead to the key of another.

    Args:
        template: Text with ``{name}`` or ``{name.attribute}``.
        **values: Strings, numbers, UUIDs, dates, enums or ``None``.

    Raises:
        KeyError: a value is missing.
        TypeError: a value is of another type, which may have no text of its own.
    """
    return Template(template).fill(values)


class Template:
    """A key with the names of arguments in braces.

    Args:
        text: Such as ``user:{user_id}``.

    Raises:
        ConfigurationError: the braces do not match, or there is more in them than a name.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        try:
            parts = list(Formatter().parse(text))
        except ValueError as error:
            raise ConfigurationError(f"The template {text!r} cannot be read: {error}.") from error
        self._parts = [(literal, name) for literal, name, _, _ in parts]
        for _, name, spec, conversion in parts:
            words = [] if name is None else name.split(".")
            if spec or conversion or not all(word.isidentifier() for word in words):
                raise ConfigurationError(
                    f"The template {text!r} has more in its braces than the name of an argument, such "
                    "as {user_id}, or of its attribute, such as {user.id}."
                )

    @property
    def arguments(self) -> set[str]:
        """The names of the arguments."""
        return {name.split(".")[0] for _, name in self._parts if name is not None}

    def fill(self, values: Mapping[str, object]) -> str:
        """Return the text with the values in it."""
        return "".join(
            literal if name is None else literal + self._text(name, values)
            for literal, name in self._parts
        )

    def _text(self, name: str, values: Mapping[str, object]) -> str:
        first, *attributes = name.split(".")
        value = reduce(getattr, attributes, values[first])
        if value is None:
            return "%"  # no quoted text
        if not isinstance(value, _SIMPLE):
            raise TypeError(
                f"The key {self.text!r} has {name!r} in it, which is a {type(value).__name__}: a key "
                "has strings, numbers, UUIDs, dates and enums in it. Name an attribute: {user.id}."
            )
        return quote(str(value.value if isinstance(value, Enum) else value), safe="")


class ArgumentTemplates:
    """The templates of a decorated function, filled in with its arguments.

    Args:
        function: The function.
        templates: Of its key and its tags.

    Raises:
        ConfigurationError: one of them names what is no parameter of the function.
    """

    def __init__(self, function: Callable[..., Any], templates: Iterable[str]) -> None:
        self._signature = inspect.signature(function)
        self._templates = [Template(text) for text in templates]
        for template in self._templates:
            unknown = template.arguments - self._signature.parameters.keys()
            if unknown:
                raise ConfigurationError(
                    f"The template {template.text!r} names {', '.join(sorted(unknown))}, and "
                    f"{function.__qualname__} has the parameters "
                    f"{', '.join(self._signature.parameters) or 'none'}."
                )

    def fill(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[str]:
        """Return the texts, in the order of the templates."""
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return [template.fill(bound.arguments) for template in self._templates]
