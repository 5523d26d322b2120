"""Streams of answers: rows as JSON while they are read, in constant memory."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb.data.answers.plan import Plan
from fastapi_asyncdb.data.answers.reader import (
    has_unfit,
    text_of,
    unfit,
    validated,
)
from fastapi_asyncdb.data.answers.statements import statement_of
from fastapi_asyncdb.data.answers.writes import Write
from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.session.managed import ends_with_handler

_Writer = Callable[[Sequence[Any]], Awaitable[list[str]]]


async def stream_of(
    session: AsyncSession, statement: Any, plan: Plan, batch_size: int
) -> AsyncGenerator[list[str], None]:
    """Open a stream; return what yields the JSON of so many rows at a time.

    The cursor of a transaction that ends with the handler would be closed before the first row is sent:
    there the statement is sent with the first batch, in the transaction of the response.

    Raises:
        ConfigurationError: the statement writes.
        UnfitRow: later, a row is none that the database can write.
    """
    if isinstance(statement, Write):
        raise ConfigurationError(
            f"{statement.__visit_name__.upper()} writes, and a stream reads. Await answer() of the "
            "statement, or stream a select()."
        )
    # Of objects, SQLAlchemy 2.0 refuses yield_per beside selectinload() of many-to-many relationships;
    # the batches that are read have the same effect.
    size = {"max_row_buffer" if plan.way == "objects" else "yield_per": batch_size}
    streamed = statement_of(statement, plan).execution_options(**size)
    written = partial(_written, session, statement, plan)
    if ends_with_handler(session):
        return _later(partial(_opened, session, streamed, plan), batch_size, written)
    return _batches(await _opened(session, streamed, plan), batch_size, written)


async def _opened(session: AsyncSession, streamed: Any, plan: Plan) -> Any:
    result = await session.stream(streamed)
    one = plan.way == "database" or (plan.way == "objects" and plan.model is not None)
    return result.scalars() if one else result


async def _later(
    opened: Callable[[], Awaitable[Any]], size: int, written: _Writer
) -> AsyncGenerator[list[str], None]:
    async with aclosing(_batches(await opened(), size, written)) as batches:
        async for batch in batches:
            yield batch


async def _batches(result: Any, size: int, written: _Writer) -> AsyncGenerator[list[str], None]:
    try:
        async for batch in result.partitions(size):
            yield await written(batch)
    finally:
        await result.close()


async def _written(
    session: AsyncSession, statement: Any, plan: Plan, batch: Sequence[Any]
) -> list[str]:
    """Return rows of a stream as JSON."""
    if plan.way != "database":
        values = await validated(session, statement, plan, batch)
        return [text_of([value], plan) for value in values]
    if has_unfit(batch):
        raise unfit(plan)
    return list(batch)
