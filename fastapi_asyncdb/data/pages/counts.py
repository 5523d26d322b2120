"""The number of rows of a statement: counted, or estimated by the planner of the database."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Select, func, literal_column, select
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb.data.pages.selects import bare, key_columns
from fastapi_asyncdb.data.pages.statements import Source
from fastapi_asyncdb.dialects import backend_of
from fastapi_asyncdb.session.managed import execute

_COUNT = func.count()


def counted(source: Source) -> ColumnElement[Any]:
    """Return the number of rows as a column of any statement."""
    return _select(_COUNT, source).correlate(None).scalar_subquery().label(None)


async def count(session: AsyncSession, source: Source) -> int:
    """Count the rows, without their order and what is loaded with them."""
    number = await execute(session, _select(_COUNT, source))
    return int(number.scalar_one())


async def estimate(session: AsyncSession, source: Source) -> int:
    """Return what the planner expects; count where the database has none that can be asked."""
    backend = backend_of(session.get_bind(clause=source.statement).dialect)
    if backend is None or backend.estimate is None:
        return await count(session, source)
    statement = backend.estimate.explain(_select(literal_column("1"), source))
    return backend.estimate.rows(await execute(session, statement))


def _select(column: ColumnElement[Any], source: Source) -> Select[Any]:
    """Select a column from the rows."""
    rows = bare(source.statement)
    if source.is_plain:
        return rows.with_only_columns(column).select_from(source.entity)
    statement = select(column).select_from(_keys(rows, source).subquery())
    # Of a subquery, SQLAlchemy takes neither.
    options = rows.get_execution_options()
    return statement.options(*rows._with_options).execution_options(**options)


def _keys(rows: Select[Any], source: Source) -> Select[Any]:
    """Return the statement with one row for each item of a page."""
    keys: Any = rows.with_only_columns(*key_columns(rows))
    one_each: Select[Any] = keys.distinct() if source.repeats else keys
    return one_each
