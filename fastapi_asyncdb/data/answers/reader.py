"""Reads the rows of a statement as a plan says: as JSON, or as values of a schema."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, cast

from sqlalchemy import Delete, Result, Select, inspect
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import FromStatement

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
from fastapi_asyncdb.data.answers.statements import rows_for, statement_of
from fastapi_asyncdb.data.answers.writes import (
    Write,
    check_returning,
    load_related,
    written_class,
)
from fastapi_asyncdb.data.pages.rows import unique_where_needed
from fastapi_asyncdb.data.pages.selects import entity_of, groups, is_distinct, may_be_none
from fastapi_asyncdb.dialects import json_of, may_build_json
from fastapi_asyncdb.dialects.json import UNFIT, JsonFormat
from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.session.managed import execute
from fastapi_asyncdb.session.read_column import read_column

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


class Items(NamedTuple):
    """Rows as the items of a JSON array, without its brackets."""

    text: str
    rows: int
    """Those of the result, which may be joined to one."""


async def items_of(
    session: AsyncSession, statement: Any, plan: Plan, *, joins: bool = False
) -> Items:
    """Return the rows of a statement as JSON."""
    if plan.way == "database":
        texts = await _texts(session, statement, plan, joins=joins)
        if not has_unfit(texts):
            return Items(",".join(texts), len(texts))
        plan = by_objects(plan, statement)
    values = await _values(session, statement, plan)
    return Items(text_of(values, plan), len(values))


async def values_of(session: AsyncSession, statement: Any, plan: Plan) -> list[Any]:
    """Return the rows as values of the schema."""
    if plan.way == "database":
        texts = await _texts(session, statement, plan, joins=True)
        if not has_unfit(texts):
            values: list[Any] = plan.adapter.validate_json(f"[{','.join(texts)}]")
            return values
        plan = by_objects(plan, statement)
    return await _values(session, statement, plan)


async def _texts(
    session: AsyncSession, statement: Any, plan: Plan, *, joins: bool
) -> Sequence[str]:
    """Return the JSON that the database builds."""
    rows = rows_for(session, statement, plan, joins=joins)
    if rows is not None:
        return await read_column(session, rows, statement)
    return (await _executed(session, statement, plan, joins=joins)).scalars().all()


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
        raise unfit(plan)
    return plan_of(plan.schema, cast(Any, plan.model), None, "repeat")


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


async def _values(session: AsyncSession, statement: Any, plan: Plan) -> list[Any]:
    """Return the rows as Pydantic validates them."""
    result = await _executed(session, statement, plan)
    if plan.way == "rows" or plan.model is None:
        return await validated(session, statement, plan, result.all())
    objects = unique_where_needed(result).scalars().all()
    if isinstance(statement, Write) and objects and plan.options:
        await load_related(session, plan.model, objects, options_of(plan, plan.model))
    return await validated(session, statement, plan, objects)


def unfit(plan: Plan) -> UnfitRow:
    """Return the error of a row that the database cannot write."""
    return UnfitRow(
        f"The database cannot write a row as {name_of(plan.schema)} has it: a field that requires a "
        "value is NULL, a date is outside of the years 1 to 9999, a number is infinite, SQLite has "
        "stored a value of another type than that of the column, or MariaDB has cut off a list at its "
        "group_concat_max_len. Make the field optional, or correct the row."
    )
