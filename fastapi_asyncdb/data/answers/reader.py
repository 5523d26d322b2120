"""Reads the rows of a statement as a plan says: as JSON, or as values of a schema."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, NamedTuple, cast

from sqlalchemy import Delete, Result, Select, inspect
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import FromStatement

from fastapi_asyncdb.data.answers.json_row import joined
from fastapi_asyncdb.data.answers.loader_options import loads_otherwise
from fastapi_asyncdb.data.answers.narrowed import PartsReader
from fastapi_asyncdb.data.answers.plan import (
    Plan,
    Purpose,
    has_relationships,
    name_of,
    options_of,
    plan_of,
)
from fastapi_asyncdb.data.answers.readable import Views, values_of_rows
from fastapi_asyncdb.data.answers.writes import (
    Write,
    check_returning,
    load_related,
    written_class,
)
from fastapi_asyncdb.data.pages.limited import limited
from fastapi_asyncdb.data.pages.selects import entity_of, groups, is_distinct, may_be_none, reading
from fastapi_asyncdb.dialects import json_of, may_build_json
from fastapi_asyncdb.dialects.json import UNFIT, JsonFormat
from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.session.managed import ends_with_handler, execute

_Writer = Callable[[Sequence[Any]], Awaitable[list[str]]]
_SELECTS: Any = (Select, FromStatement)
"""What may select entities."""


class UnfitRow(ValueError):
    """The database cannot write a row as Pydantic would, and the row cannot be read again."""


async def plan_for(
    session: AsyncSession, statement: Any, schema: Any, purpose: Purpose = "answer"
) -> Plan:
    """Return the plan for a statement.

    Raises:
        ConfigurationError: see ``answer``.
    """
    model: Any
    if isinstance(statement, Write):
        model = written_class(statement)
        if has_relationships(schema):
            _refuse_delete(statement, schema)
            # Criteria, such as those of SoftDeleteMixin, are not applied to subqueries of RETURNING.
            purpose = "objects"
    else:
        model = entity_of(statement) if isinstance(statement, _SELECTS) else None
        if model is not None and _needs_objects(statement, model):
            purpose = "objects"
            model = inspect(model).mapper.class_
    return plan_of(schema, model, await _format_for(session, statement), purpose)


async def _format_for(session: AsyncSession, statement: Any) -> JsonFormat | None:
    dialect = session.get_bind(clause=statement).dialect
    if may_build_json(dialect):
        await session.connection(bind_arguments={"clause": statement})
        dialect = session.get_bind(clause=statement).dialect
    return json_of(dialect)


def _refuse_delete(statement: Write, schema: Any) -> None:
    if isinstance(statement, Delete):
        raise ConfigurationError(
            f"{name_of(schema)} has relationships, and after a DELETE there are none to read. Answer a "
            "select() before it, or a schema without relationships."
        )


def _needs_objects(statement: Any, entity: Any) -> bool:
    """Return whether other columns, or no loader options, would make other rows or other objects."""
    if not isinstance(statement, Select) or not isinstance(entity, type):
        return True
    if groups(statement) or is_distinct(statement) or may_be_none(statement, entity):
        return True
    return loads_otherwise(statement, entity)


def statement_of(statement: Any, plan: Plan, *, joins: bool = False) -> Any:
    """Return the statement that reads what the plan needs; with ``joins`` as one row, if it is JSON."""
    if plan.model is None:
        return statement
    columns: tuple[Any, ...] = plan.columns if plan.row is None else (plan.row,)
    if isinstance(statement, Write):
        return statement.returning(*columns or (plan.model,))
    if joins and plan.row is not None and plan.row.format.joining is not None:
        return joined(reading(statement, plan.row.item), plan.row)
    if plan.row is not None and plan.row.format.computes_first:
        return limited(statement, plan.row)
    return reading(statement, *columns) if columns else loading(statement, plan)


def loading(statement: Any, plan: Plan) -> Any:
    """Return the statement that also loads what the schema needs of relationships."""
    return statement.options(*options_of(plan, entity_of(statement)))


class Items(NamedTuple):
    """Rows as the items of a JSON array, without its brackets."""

    text: str
    rows: int
    """Those of the result, which may be joined to one."""


async def items_of(
    session: AsyncSession, statement: Any, plan: Plan, *, joins: bool = False
) -> Items:
    """Return the rows of a statement as JSON."""
    result = await _executed(session, statement, plan, joins=joins)
    if plan.way == "database":
        texts: list[str] = list(result.scalars())
        if not has_unfit(texts):
            return Items(",".join(texts), len(texts))
        plan = by_objects(plan, statement)
        result = await _executed(session, statement, plan)
    values = await _validated(session, statement, plan, result)
    return Items(text_of(values, plan), len(values))


async def values_of(session: AsyncSession, statement: Any, plan: Plan) -> list[Any]:
    """Return the rows as values of the schema."""
    result = await _executed(session, statement, plan, joins=True)
    if plan.way == "database":
        texts = list(result.scalars())
        if not has_unfit(texts):
            values: list[Any] = plan.adapter.validate_json(f"[{','.join(texts)}]")
            return values
        plan = by_objects(plan, statement)
        result = await _executed(session, statement, plan)
    return await _validated(session, statement, plan, result)


async def _executed(
    session: AsyncSession, statement: Any, plan: Plan, *, joins: bool = False
) -> Result[Any]:
    if isinstance(statement, Write):
        await check_returning(session, statement)
    return await execute(session, statement_of(statement, plan, joins=joins))


def by_objects(plan: Plan, statement: Any) -> Plan:
    """Return the plan for rows of which one is unfit: Pydantic writes it, or says what is wrong with it.

    Raises:
        UnfitRow: the statement has written, and cannot be repeated.
    """
    if isinstance(statement, Write):
        raise _unfit(plan)
    return plan_of(plan.schema, cast(Any, plan.model), None, "repeat")


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
        raise _unfit(plan)
    return list(batch)


def has_unfit(texts: Iterable[str]) -> bool:
    """Return whether one has a value that the database has not written."""
    return any(UNFIT in text for text in texts)


def text_of(values: list[Any], plan: Plan) -> str:
    """Return values of the schema as the items of a JSON array."""
    return plan.adapter.dump_json(values, by_alias=True).decode()[1:-1]


async def validated(
    session: AsyncSession, statement: Any, plan: Plan, rows: Sequence[Any]
) -> list[Any]:
    """Return rows, or objects, as values of the schema."""
    items: Sequence[Any] = rows if plan.has_fields else values_of_rows(rows)
    if plan.columns:
        items = [dict(zip(plan.names, row, strict=True)) for row in rows]
    elif plan.read_as is not None:
        shape, parts = plan.read_as, {}
        if plan.model is not None:
            parts = await PartsReader(session, statement).read(items, shape)
        views = Views(parts)
        items = [views.of(each, shape) for each in items]
    values: list[Any] = plan.adapter.validate_python(items, from_attributes=True)
    return values


async def _validated(
    session: AsyncSession, statement: Any, plan: Plan, result: Result[Any]
) -> list[Any]:
    if plan.way == "rows" or plan.model is None:
        return await validated(session, statement, plan, result.all())
    unique = result.unique() if result._unique_filter_state is not None else result
    objects = unique.scalars().all()
    if isinstance(statement, Write) and objects and plan.options:
        await load_related(session, plan.model, objects, options_of(plan, plan.model))
    return await validated(session, statement, plan, objects)


def _unfit(plan: Plan) -> UnfitRow:
    return UnfitRow(
        f"The database cannot write a row as {name_of(plan.schema)} has it: a field that requires a "
        "value is NULL, a date is outside of the years 1 to 9999, a number is infinite, SQLite has "
        "stored a value of another type than that of the column, or MariaDB has cut off a list at its "
        "group_concat_max_len. Make the field optional, or correct the row."
    )
