"""The related rows of which a schema has a part, each found by a query of its own."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select, inspect, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import RelationshipProperty, aliased
from sqlalchemy.orm.interfaces import LoaderOption

from tests.data.answers.loads import loads
from tests.data.answers.museum import models
from tests.data.answers.schemas import Schema
from tests.data.answers.views import Found, is_viewed


class Parts:
    """Reads them.

    Args:
        session: The session.
        statement: Its criteria and its options are those of the parts.
    """

    def __init__(self, session: AsyncSession, statement: Select[Any]) -> None:
        self._session = session
        criteria = (each for each in statement._with_options if not isinstance(each, LoaderOption))
        self._criteria = tuple(criteria)
        self._execution: Any = statement.get_execution_options()
        self._found: Found = {}
        self._seen: set[tuple[str, int]] = set()

    async def of(self, objects: Any, schema: Schema) -> Found:
        """Return those of objects, and of what is related to these."""
        for each in _items(objects):
            if isinstance(each, models.Base) and (schema.name, id(each)) not in self._seen:
                self._seen.add((schema.name, id(each)))
                await self._add(each, schema)
        return self._found

    async def _add(self, parent: Any, schema: Schema) -> None:
        for name, child in schema.loads:
            inner = schema if name in schema.recursive else child
            if inner is None or name not in inspect(type(parent)).relationships:
                continue
            where = schema.name, id(parent), name
            if name in schema.related:
                self._found[where] = await self._read(parent, name, schema)
            if inner is not schema or is_viewed(schema):
                await self.of(self._found.get(where, getattr(parent, name)), inner)

    async def _read(self, parent: Any, name: str, schema: Schema) -> Any:
        found = inspect(type(parent)).relationships[name]
        related, target = schema.related[name], found.mapper.class_
        rows = _related(parent, found)
        rows = rows.where(*related.conditions(target)).limit(related.limit)
        rows = rows.order_by(*(related.order(target) or found.order_by or ()))
        options = loads(dict(schema.loads)[name], target)
        rows = rows.options(*options, *self._criteria).execution_options(**self._execution)
        return _collected(found, list(await self._session.scalars(rows)))


def _related(parent: Any, found: RelationshipProperty[Any]) -> Select[Any]:
    """Return what selects the rows that are related to an object."""
    target = found.mapper.class_
    if found.secondary is None:
        above: Any = aliased(type(parent))
        rows: Select[Any] = select(target).select_from(above)
        rows = rows.join(getattr(above, found.key).of_type(target))
        keys = map(found.parent.get_property_by_column, found.parent.primary_key)
        return rows.where(*(getattr(above, each.key) == getattr(parent, each.key) for each in keys))
    rows = select(target).join(found.secondary, found.secondaryjoin)
    pairs = (
        (found.parent.get_property_by_column(ours), its) for ours, its in found.synchronize_pairs
    )
    return rows.where(*(its == getattr(parent, ours.key) for ours, its in pairs))


def _items(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return list(value) if isinstance(value, list | set) else [value]


def _collected(found: RelationshipProperty[Any], rows: list[Any]) -> Any:
    if not found.uselist:
        return rows[0] if rows else None
    if found.collection_class is set:
        return set(rows)
    return rows if found.collection_class is None else {each.id: each for each in rows}
