"""Values that a database writes otherwise than Pydantic: the answers are FastAPI's."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel, create_model
from sqlalchemy import MetaData, insert, literal_column, select
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import Database, answer, rows
from fastapi_asyncdb.dialects import json_of
from tests.data.answers.fastapi_answer import assert_equal, parsed
from tests.data.answers.museum.columns import Color, Grade, Style
from tests.data.answers.museum.models import Base, Exhibit, Tag

UNFIT = {"$unfit": 1}
"""What stands for a value that a database cannot write."""


@pytest.fixture
def tables() -> MetaData:
    """The tables of ``database``."""
    return Base.metadata


async def store(session: AsyncSession, **values: Any) -> None:
    """Insert an exhibit."""
    await session.execute(insert(Tag), [{"id": 1, "name": "a"}])
    await session.execute(insert(Exhibit).values(id=1, first_tag_id=1, **values))


EVERYWHERE: list[tuple[str, Any, Any]] = [
    ("varied", str, "word"),
    ("token_char", UUID, UUID(int=7)),
    ("real", float, 0.10000000149011612),
    ("amount", Decimal, Decimal(100_000_000)),
    ("price", Decimal, Decimal("10000000.00")),
    ("color", Color, Color.BLUE),
    ("style", Style, Style.NEW),
    ("grade", Grade, Grade.HIGH),
    ("document", Any, 2**63),
    ("document", Any, -9920283029.981524),
    ("document", Any, {"a": ["{$unfit}", UNFIT, "\\$unfit"]}),
    ("binary_document", Any, UNFIT),
    ("document", Any, "\\"),
]


@pytest.mark.parametrize(("name", "type_", "value"), EVERYWHERE)
async def test_the_value_is_that_of_fastapi(database: Database, name: str, type_: Any, value: Any):
    """On each database, whatever makes the JSON."""
    schema = create_model("Out", **{name: (type_, ...)})  # type: ignore[call-overload]
    async with database.session() as session:
        await store(session, **{name: value})
        await assert_equal(session, select(Exhibit), schema)


LONG = "1" + "0" * 250 + "e99"
"""A number that Python reads as infinite."""
ON_SQLITE = [
    ("day", date, "'2024-02-30'"),
    ("day", date, "'0000-01-01'"),
    ("moment", Any, "'0000-01-01 00:00:00.000000'"),
    ("moment", Any, "'2024-02-29 24:00:00'"),
    ("side", str, "'up'"),
    ("corner", str, "'west'"),
    ("document", Any, f"'[{LONG}]'"),
    ("document", Any, f"'{LONG}'"),
]


@pytest.mark.databases("sqlite")
@pytest.mark.parametrize(("name", "type_", "sql"), ON_SQLITE)
async def test_what_sqlite_stores_is_answered_by_fastapi(
    database: Database, name: str, type_: Any, sql: str
):
    """Or is an error, as there."""
    await _check(database, name, type_, sql)


@pytest.mark.databases("postgresql-asyncpg", "postgresql-psycopg")
@pytest.mark.parametrize(
    ("name", "type_", "sql"), [("corner", str, "'west'"), ("document", Any, f"'[{LONG}]'")]
)
async def test_what_postgresql_stores_is_answered_by_fastapi(
    database: Database, name: str, type_: Any, sql: str
):
    """Or is an error, as there."""
    await _check(database, name, type_, sql)


async def _check(database: Database, name: str, type_: Any, sql: str) -> None:
    schema = create_model("Out", **{name: (type_, ...)})  # type: ignore[call-overload]
    async with database.session() as session:
        await store(session, **{name: literal_column(sql)})
        await assert_equal(session, select(Exhibit), schema)


class DocumentOut(BaseModel):
    document: Any


async def test_no_document_is_taken_for_a_value_that_does_not_fit(database: Database):
    """It is sent by streams and by statements that write, which cannot read again."""
    async with database.session() as session:
        await store(session, document=UNFIT)
        response = await answer.stream(session, select(Exhibit), DocumentOut)
        lines = [line async for line in response.body_iterator]
        assert parsed(str(lines[0])) == parsed('{"document":{"$unfit":1}}')
        [found] = await rows(session, select(Exhibit), DocumentOut)
        assert found.document == UNFIT
        await session.rollback()


def decode(text: str) -> Any:
    """Read JSON in another way than Python's."""
    return {"read": text}


@pytest.mark.databases("sqlite", "postgresql-asyncpg", "postgresql-psycopg")
async def test_a_function_of_the_engine_reads_json(database: Database):
    """So the database does not write it."""
    dialect = database.engine.sync_engine.dialect
    formats = [json_of(dialect)]
    dialect._json_deserializer = decode
    formats.append(json_of(dialect))
    assert [each.reads_json for each in formats if each] == [True, False]
