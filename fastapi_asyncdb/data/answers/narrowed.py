"""Related rows of which a schema has a part, or an order of its own: queries of their own read them.

No object gets them: it may be in the schema twice, and must not keep a part as if it were the whole.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, cast

from sqlalchemy import Select, and_, func, inspect, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import FromStatement, RelationshipProperty, aliased
from sqlalchemy.orm.interfaces import LoaderOption
from sqlalchemy.sql.util import ClauseAdapter

from fastapi_asyncdb.data.answers.attributes import property_of
from fastapi_asyncdb.data.answers.loader_options import loader_options
from fastapi_asyncdb.data.answers.readable import Parts, is_narrowed, objects_in
from fastapi_asyncdb.data.answers.related import Related
from fastapi_asyncdb.data.answers.shape import Field, Shape
from fastapi_asyncdb.data.pages.rows import unique_where_needed
from fastapi_asyncdb.data.pages.selects import primary_key
from fastapi_asyncdb.session.managed import execute

_BATCH = 500
"""Of how many objects a query reads the related rows: the number of its parameters is limited."""
_OF_STREAMS = {"yield_per", "stream_results", "max_row_buffer"}


class PartsReader:
    """Reads the parts that a schema has of related rows.

    Args:
        session: The session.
        statement: What the objects were selected by: its criteria and options are those of the parts.
    """

    def __init__(self, session: AsyncSession, statement: Any) -> None:
        self._session = session
        self._criteria: tuple[Any, ...] = ()
        self._options: dict[str, Any] = {}
        if isinstance(statement, Select | FromStatement):
            options = statement._with_options
            self._criteria = tuple(each for each in options if not isinstance(each, LoaderOption))
            execution = statement.get_execution_options()
            self._options = {key: execution[key] for key in execution if key not in _OF_STREAMS}

    async def read(self, objects: Sequence[Any], shape: Shape) -> Parts:
        """Return the parts of objects, and those of the objects that are related to them."""
        parts: Parts = {}
        await self._add(parts, objects, shape)
        return parts

    async def _add(self, parts: Parts, objects: Sequence[Any], shape: Shape) -> None:
        for field in shape.fields if objects and is_narrowed(shape) else ():
            found = property_of(field, type(objects[0]))
            if not isinstance(found, RelationshipProperty):
                continue
            # In a circle the same objects come again.
            new = [each for each in objects if (id(field), id(each)) not in parts]
            if field.is_narrowed:
                for start in range(0, len(new), _BATCH):
                    await self._read(parts, new[start : start + _BATCH], field, found)
            elif field.recursive:
                parts |= {(id(field), id(each)): getattr(each, found.key) for each in new}
            values = [
                parts.get((id(field), id(each)), each.__dict__.get(found.key)) for each in new
            ]
            related = [each for value in values for each in objects_in(value)]
            for inner in (shape,) if field.recursive else field.shapes:
                await self._add(parts, related, inner)

    async def _read(
        self,
        parts: Parts,
        objects: Sequence[Any],
        field: Field,
        found: RelationshipProperty[Any],
    ) -> None:
        rows = defaultdict[Any, list[Any]](list)
        result = await execute(self._session, self._statement(objects, field, found))
        for row in unique_where_needed(result):
            rows[tuple(row[1:])].append(row[0])
        for each in objects:
            parts[id(field), id(each)] = _collected(found, rows[tuple(inspect(each).identity)])

    def _statement(
        self, objects: Sequence[Any], field: Field, found: RelationshipProperty[Any]
    ) -> Select[Any]:
        parent, target = aliased(found.parent.class_), found.mapper.class_
        key, related = primary_key(parent), cast(Related, field.related)
        keys = [inspect(each).identity for each in objects]
        rows, order = _related(select(target, *key).select_from(parent), parent, found)
        rows = rows.where(tuple_(*key).in_(keys), *related.conditions(target))
        order = related.order(target) or order
        if related.limit is None:
            rows = rows.order_by(*order)
        else:
            rows = _first(related.limit, rows, order, target, key)
        rows = rows.options(*loader_options(field.shapes, target), *self._criteria)
        statement: Select[Any] = rows.execution_options(**self._options)
        return statement


def _related(
    rows: Select[Any], parent: Any, found: RelationshipProperty[Any]
) -> tuple[Select[Any], Sequence[Any]]:
    """Return rows of a parent with what is related to them, and the order of the relationship."""
    target, order = found.mapper.class_, found.order_by or ()
    if found.secondary is None:
        return rows.join(getattr(parent, found.key).of_type(target)), order
    # SQLAlchemy would alias the table between them, and not what the order has of it.
    between = found.secondary.alias()
    inner, outer = ClauseAdapter(between), ClauseAdapter(inspect(parent).selectable)
    rows = rows.join(between, outer.traverse(inner.traverse(cast(Any, found.primaryjoin))))
    rows = rows.join(target, inner.traverse(cast(Any, found.secondaryjoin)))
    return rows, [inner.traverse(each) for each in order]


def _first(
    limit: int, rows: Select[Any], order: Sequence[Any], target: Any, key: Sequence[Any]
) -> Select[Any]:
    """Return the first rows of each parent, which a subquery numbers by their keys."""
    # The loader options are those of an entity, which the outer select has.
    number = func.row_number().over(partition_by=key, order_by=order or None)
    own = primary_key(target)
    parts = [each.label(f"part_{n}") for n, each in enumerate([number, *own, *key])]
    numbered = rows.with_only_columns(*parts, maintain_column_froms=True).subquery()
    place, *keys = numbered.c
    same = (one == other for one, other in zip(own, keys, strict=False))
    chosen: Any = select(target, *keys[len(own) :]).join(numbered, and_(*same))
    first: Select[Any] = chosen.where(place <= limit).order_by(place)
    return first


def _collected(found: RelationshipProperty[Any], rows: list[Any]) -> Any:
    """Return rows as the relationship has them."""
    if not found.uselist:
        return rows[0] if rows else None
    if found.collection_class in (None, list):
        return rows
    collected = getattr(found.parent.class_, found.key).impl.collection_factory()
    for each in rows:
        collected._sa_appender(each, _sa_initiator=False)
    return collected
