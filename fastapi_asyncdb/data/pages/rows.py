"""The rows of a page: objects, values or rows, as the statement selects them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeVar

from pydantic import TypeAdapter
from sqlalchemy import Result, Select
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb.data.pages.statements import Source

S = TypeVar("S")


async def items_of(session: AsyncSession, source: Source, statement: Select[Any]) -> list[Any]:
    """Return the items of a page: of one entity or column what it is, of several the rows."""
    result = await _execute(session, source, statement)
    return list(result.scalars() if len(source.columns) == 1 else result)


async def items_with_keys(
    session: AsyncSession, source: Source, statement: Select[Any]
) -> tuple[list[Any], list[Sequence[Any]]]:
    """Return the items of a page, and the rows that end with the values of their keys."""
    result = await _execute(session, source, statement)
    if len(source.columns) == 1:
        rows: list[Any] = list(result)
        return [row[0] for row in rows], rows
    # The rows of a frozen result can be read twice: as the statement selects them, and with the keys.
    frozen = result.freeze()
    return list(frozen().columns(*range(len(source.columns)))), list(frozen())


async def _execute(session: AsyncSession, source: Source, statement: Select[Any]) -> Result[Any]:
    result: Result[Any] = await session.execute(statement)
    # SQLAlchemy insists on unique() where joined loading repeats an object.
    needed = source.repeats or result._unique_filter_state is not None
    return result.unique() if needed else result


def as_models(items: list[Any], schema: type[S]) -> list[S]:
    """Return the items as a schema has them, from their attributes if they are objects."""
    hashable: Any = schema
    models: list[S] = _adapter(hashable).validate_python(items, from_attributes=True)
    return models


@lru_cache(maxsize=1024)
def _adapter(schema: type[S]) -> TypeAdapter[list[S]]:
    return TypeAdapter(list[schema])  # type: ignore[valid-type]
