"""Objects as a schema reads them where Pydantic cannot: dataclasses, parts of what is related."""

from __future__ import annotations

from typing import Any

from tests.data.answers.museum import models
from tests.data.answers.schemas import Schema

Found = dict[tuple[str, int, str], Any]
"""Related rows, by the name of a schema, the id of an object, and the name of its relationship."""


def is_viewed(schema: Schema) -> bool:
    """Return whether Pydantic cannot read the objects of a schema as they are."""
    return any(each.mapping or each.related for each in schema.below)


class View:
    """An object as a schema reads it: with the related rows that it has, which may be mappings."""

    def __init__(self, source: Any, schema: Schema, found: Found) -> None:
        self._source, self._schema, self._found = source, schema, found

    def __getattr__(self, name: str) -> Any:
        where = self._schema.name, id(self._source), name
        value = self._found[where] if where in self._found else getattr(self._source, name)
        child = dict(self._schema.loads).get(name)
        if name in self._schema.recursive and is_viewed(self._schema):
            child = self._schema
        return viewed(value, child, self._found) if child and is_viewed(child) else value


def viewed(value: Any, schema: Schema, found: Found) -> Any:
    """Return objects as Pydantic can read them for a schema: each of them once, as it sees circles."""
    if isinstance(value, list | set):
        return [viewed(each, schema, found) for each in value]
    if isinstance(value, dict):
        return {key: viewed(each, schema, found) for key, each in value.items()}
    if not isinstance(value, models.Base):
        return value
    where = schema.name, id(value), ""
    if where not in found:
        view = View(value, schema, found)
        found[where] = {} if schema.mapping else view
        if schema.mapping:
            names = [*schema.columns, *dict(schema.loads)]
            found[where].update({name: getattr(view, name) for name in names})
    return found[where]
