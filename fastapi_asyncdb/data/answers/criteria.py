"""``with_loader_criteria()`` for the aliases in the JSON of a row, which stand for relationships.

SQLAlchemy loads a relationship from the class itself, so that criteria apply to it which do not include
aliases: those of a tenant, for example.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy.orm.util import LoaderCriteriaOption
from sqlalchemy.sql.compiler import SQLCompiler

_KEY = "additional_entity_criteria"
"""With a mapper, the key of the criteria for its class in what a compilation knows."""


@contextmanager
def for_aliases(compiler: SQLCompiler) -> Iterator[None]:
    """Apply to aliases, too, what the statement that is being compiled has for their classes."""
    known: dict[Any, Any] = compiler._global_attributes
    criteria = {key: known[key] for key in known if isinstance(key, tuple) and key[0] == _KEY}
    known.update({key: [_widened(each, key[1]) for each in criteria[key]] for key in criteria})
    try:
        yield
    finally:
        known.update(criteria)


def _widened(option: LoaderCriteriaOption, mapper: Any) -> LoaderCriteriaOption:
    if option.include_aliases or option.entity is not mapper:
        return option
    # Not a new one: its parameters would not be those of SQLAlchemy's cache.
    copy = object.__new__(type(option))
    for name in LoaderCriteriaOption.__slots__:
        if hasattr(option, name):
            setattr(copy, name, getattr(option, name))
    copy.include_aliases = True
    return copy
