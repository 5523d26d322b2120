"""Which keys of an upsert are stored: one query for many keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from sqlalchemy import (
    Column,
    Integer,
    Select,
    and_,
    false,
    func,
    literal,
    literal_column,
    select,
    true,
    union_all,
)

from fastapi_asyncdb.dialects.bulk import Upsert


def select_stored(keys: Sequence[tuple[int, list[Any]]], upsert: Upsert) -> Select[Any]:
    """Return the query for the number of each key, that of the first key that equals it, and its row.

    The server compares: a collation may take texts for equal that Python does not. An empty select of
    the columns gives that collation to the keys.
    """
    columns = upsert.conflict
    names = [f"key_{place}" for place, _ in enumerate(columns)]

    def labels(number: int, values: Sequence[Any]) -> list[Any]:
        named = [value.label(name) for value, name in zip(values, names, strict=True)]
        return [literal_column(str(number), Integer).label("number"), *named]

    given = union_all(
        select(*labels(-1, columns)).where(false()),
        *(select(*labels(number, _bound(key, columns))) for number, key in keys),
    ).subquery()
    same = [column == given.c[name] for column, name in zip(columns, names, strict=True)]
    same += [] if upsert.where is None else [upsert.where]
    first = func.min(given.c.number).over(partition_by=[given.c[name] for name in names])
    may_update = true() if upsert.only is None else upsert.only
    answers: list[Any] = [given.c.number, first, columns[0].is_not(None), may_update]
    joined = given.outerjoin(upsert.table, and_(*same))
    return cast("Select[Any]", select(*answers).select_from(joined))


def _bound(key: list[Any], columns: Sequence[Column[Any]]) -> list[Any]:
    return [literal(value, column.type) for value, column in zip(key, columns, strict=True)]
