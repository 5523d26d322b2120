"""The rows of a page: objects, values or rows, as the statement selects them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeVar

from pydantic import TypeAdapter
from sqlalchemy import Result, Select
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb.data.pages.statements import Source
from fastapi_asyncdb.session.managed import execute

S = TypeVar("S")


async def items_of(session: AsyncSession, source: Source, statement: Select[Any]) -> list[Any]:
    """Return the items of a page: of one entity or column what it is, of several the rows."""
    result = await _execute(session, source, statement)
    return list(result.scalars() if source.width == 1 else result)


async def items_with_more(
    session: AsyncSession, source: Source, statement: Select[Any]
) -> tuple[list[Any], list[Sequence[Any]]]:
    """Return the items of a page, and the rows, which have more columns than the source selects."""
    result = await _execute(session, source, statement)
    if source.width == 1:
        rows: list[Any] = list(result)
        return [row[0] for row in rows], rows
    # The rows of a frozen result can be read twice: as the source selects them, and with the others.
    frozen = result.freeze()
    return list(frozen().columns(*range(source.width))), list(frozen())


async def _execute(session: AsyncSession, source: Source, statement: Select[Any]) -> Result[Any]:
    result: Result[Any] = await execute(session, source.reading(statement))
    return result.unique() if source.repeats else unique_where_needed(result)


def unique_where_needed(result: Result[Any]) -> Result[Any]:
    """Return a result whose rows are unique where SQLAlchemy insists on it.

    Joined loading of a collection repeats an object.
    """
    return result if result._unique_filter_state is None else result.unique()


def as_models(items: list[Any], schema: type[S]) -> list[S]:
    """Return the items as a schema has them, from their attributes if they are objects."""
    hashable: Any = schema
    models: list[S] = _adapter(hashable).validate_python(items, from_attributes=True)
    return models


@lru_cache(maxsize=1024)
def _adapter(schema: type[S]) -> TypeAdapter[list[S]]:
    return TypeAdapter(list[schema])  # type: ignore[valid-type]
