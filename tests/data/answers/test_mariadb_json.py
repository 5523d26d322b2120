"""JSON that MariaDB builds: each type of column, what does not fit, and what the server cuts off."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from fastapi.exceptions import ResponseValidationError
from pydantic import BaseModel, Field, create_model
from sqlalchemy import MetaData, insert, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from fastapi_asyncdb import Database, answer
from fastapi_asyncdb.testing import assert_queries, count_queries
from tests.data.answers.cellar import (
    Base,
    Bottle,
    BottleOut,
    Crate,
    Shade,
    Shelf,
    ShelfOut,
)
from tests.data.answers.fastapi_answer import assert_equal, parsed, validated, written
from tests.support.databases import MARIADB

pytestmark = [pytest.mark.databases(*MARIADB), pytest.mark.usefixtures("_builds_json")]
BOTTLES = select(Bottle).order_by(Bottle.id)
SHELVES = select(Shelf).order_by(Shelf.id)
LOADED = selectinload(Shelf.bottles)
TIMES = ("second", "moment", "milli")


@pytest.fixture
def tables() -> MetaData:
    """The tables of ``database``."""
    return Base.metadata


@pytest.fixture
async def session(database: Database) -> AsyncIterator[AsyncSession]:
    """A session with a shelf, whose work is rolled back."""
    async with database.session() as session:
        await session.execute(insert(Shelf).values(id=1))
        yield session
        await session.rollback()


async def store(session: AsyncSession, *rows: dict[str, Any]) -> None:
    """Store bottles on the shelf, numbered from 1."""
    for number, row in enumerate(rows, 1):
        values = {
            name: datetime.fromisoformat(value) if name in TIMES else value
            for name, value in row.items()
        }
        await session.execute(insert(Bottle).values(id=number, shelf_id=1, **values))


async def check(database: Database, session: AsyncSession) -> None:
    """Check that the database builds the JSON of all bottles, and that it is FastAPI's."""
    with assert_queries(database, exactly=2):  # objects, and JSON
        await assert_equal(session, BOTTLES, BottleOut)
    session.expunge_all()
    with assert_queries(database, exactly=3):  # shelves, their bottles, and JSON
        await assert_equal(session, SHELVES, ShelfOut, LOADED)


VALUES: dict[str, list[Any]] = {
    "name": ["", "%s %% é 😀 \u2028 </x>", "".join(map(chr, range(160))), '"\\"', "null", "1"],
    "label": ["é😀", "x" * 20_000, "\\" * 100],
    "code": ["é€", "ÿ\x00"],
    "exact": ["A", "a "],
    "is_ripe": [True, False],
    "count": [0, 2**63, 2**64 - 1],
    "narrow": [
        *(0.0, -0.0, 1.0, 0.1, 1 / 3, 86416.3, 16777217.0, 1e15, 3.4e38, -1.2345e-30),
        -1.234567e-15,  # the longest of all texts; below it is written with an exponent
    ],
    "wide": [
        *(0.0, -0.0, 100.0, 0.1, 123456789012345.6, 2.0**53 + 2, 1e15, 1e-7, 1.2345678901234568e20),
        *(5e-324, -1.2345678901234567e-15, 1.7976931348623157e308),
    ],
    "fixed": [0.0, 1.5, -99999.125],
    "price": [Decimal(0), Decimal("-0.01"), Decimal("9999999999.99")],
    "share": [Decimal("1e-6"), Decimal("123456789012345.123456789012345"), Decimal(-1)],
    "whole": [Decimal(0), Decimal(-7)],
    "day": [date(1, 1, 1), date(2024, 2, 29), date(9999, 12, 31)],
    "second": ["0001-01-01 00:00:00", "9999-12-31 23:59:59"],
    "moment": [
        *("0001-01-01 00:00:00.000001", "9999-12-31 23:59:59.999999"),
        *("2024-01-02 03:04:05", "2024-01-02 03:04:05.6"),
    ],
    "milli": ["2024-01-02 03:04:05", "2024-01-02 03:04:05.006"],
    "key": [UUID(int=0), UUID("018f0000-0000-7000-8000-00000000abcd")],
    "native": [UUID(int=2**128 - 1), UUID("018f0000-0000-4000-8000-00000000abcd")],
    "shade": list(Shade),
    "word": ["a", "B c"],
    "data": [
        *([], {}, 0, "", '\\ " / 😀', 10**200, -1.5e-300, "e123", 0.0, -0.0, "\\" * 50_000),
        {"a": [1, 2.5, None, True], '"': {"b": '1e999 1. 😀 "'}},
    ],
}


@pytest.mark.parametrize("name", VALUES)
async def test_values_of_each_type(database: Database, session: AsyncSession, name: str):
    """Of rows and in arrays, and NULL beside them."""
    await store(session, {}, *({name: value} for value in VALUES[name]))
    await check(database, session)


async def test_columns_of_several_collations(database: Database, session: AsyncSession):
    """Texts that cannot be compared become one text."""
    await store(session, {"name": "é", "label": "É", "code": "é€", "exact": "é", "data": ["é"]})
    await check(database, session)


@pytest.mark.parametrize("name", ["narrow", "wide", "count", "moment", "native"])
async def test_short_texts_are_not_cut_off(session: AsyncSession, name: str):
    """Of temporary tables, for which the server takes the digits of floats for fewer than they are."""
    kind = BottleOut.model_fields[name].annotation
    schema: Any = create_model("Out", **{name: (kind, ...)})  # type: ignore[call-overload]
    shelf: Any = create_model("OfShelf", bottles=(list[schema], ...))
    await store(session, *({name: value} for value in VALUES[name]))
    joined = select(Bottle).join(Shelf, Shelf.id == Bottle.shelf_id)
    await assert_equal(session, joined.order_by(Shelf.id.desc(), Bottle.id), schema)
    session.expunge_all()
    await assert_equal(session, SHELVES, shelf, LOADED)


UNFIT = {
    "day": ["'0000-00-00'", "'2024-02-00'", "'0000-12-31'"],
    "second": ["'2024-00-10 10:00:00'"],
    "moment": ["'0000-12-31 23:59:59'"],
    "share": ["0", "0.0000001"],
    "key": ["'{018f00000000700080000000abcd}'", "'018f000000009000800000000000abcd'"],
    "word": ["'A'", "'a '"],
    "shade": ["''"],
    "data": [
        *("'1e999'", "'[1.]'", "'nonsense'", "REPEAT('7', 400)", """CONCAT('"', CHAR(92), 'q"')"""),
        "CONCAT(REPEAT('[', 32), REPEAT(']', 32))",
    ],
}


@pytest.mark.parametrize(("name", "value"), [(n, value) for n in UNFIT for value in UNFIT[n]])
async def test_what_does_not_fit_is_read_as_objects(
    database: Database, session: AsyncSession, name: str, value: str
):
    """Pydantic writes it then, or the error is that of the objects; in an array as well."""
    stored = f"INSERT INTO cellar_bottle (id, shelf_id, `{name}`) VALUES (1, 1, {value})"
    lax = "SET STATEMENT sql_mode = '', check_constraint_checks = 0 FOR"
    await session.execute(text(f"{lax} {stored}"))
    for statement, schema, options in ((BOTTLES, BottleOut, ()), (SHELVES, ShelfOut, (LOADED,))):
        session.expunge_all()
        expected = await outcome(by_fastapi(session, statement, schema, *options))
        session.expunge_all()
        with assert_queries(database, exactly=2 + len(options)):
            assert await outcome(by_answer(session, statement, schema)) == expected


async def outcome(work: Awaitable[str]) -> str:
    """Return JSON in a form that can be compared, or that there was an error."""
    try:
        return parsed(await work)
    except Exception:
        return "an error"


async def by_fastapi(session: AsyncSession, statement: Any, schema: Any, *options: Any) -> str:
    """Return what FastAPI writes of objects."""
    objects = await session.scalars(statement.options(*options))
    return written(validated(objects.all(), schema), schema)


async def by_answer(session: AsyncSession, statement: Any, schema: Any) -> str:
    """Return what an answer writes."""
    response = await answer(session, statement, list[schema])
    return bytes(response.body).decode()


class Named(BaseModel):
    name: str


class Narrow(BaseModel):
    narrow: float


class Names(BaseModel):
    bottles: list[Named]


async def test_null_where_a_value_is_required(session: AsyncSession):
    """It is an error in an array too, which does not leave out the row."""
    await store(session, {"name": "a"}, {})
    schemas: Any = ((BOTTLES, list[Named]), (SHELVES, list[Names]))
    for statement, schema in schemas:
        with pytest.raises(ResponseValidationError, match=r"name"):
            await answer(session, statement, schema)


async def test_floats_have_a_point(session: AsyncSession):
    """Or an exponent, as from Pydantic: the server writes them as integers."""
    await store(session, *({"narrow": value} for value in (1.0, 1e15, 2.5)))
    found = await answer(session, BOTTLES, list[Narrow])
    assert found.body == b'[{"narrow":1.0},{"narrow":1e15},{"narrow":2.5}]'


@pytest.mark.parametrize("name", ["ab", "é😀"])
async def test_arrays_that_are_cut_off_are_read_as_objects(
    database: Database, session: AsyncSession, name: str
):
    """Wherever the server cuts: between two rows as well, where what is left is JSON."""
    await store(session, *[{"name": name}] * 4)
    size = len(f'{{"name":"{name}"}},'.encode()) * 4
    sent = set()
    for limit in range(4, size + 8):
        await session.execute(text(f"SET SESSION group_concat_max_len = {limit}"))
        session.expunge_all()
        with count_queries(database) as seen:
            await assert_equal(session, SHELVES, Names, LOADED)
        sent.add(len(seen))
    await session.execute(text("SET SESSION group_concat_max_len = DEFAULT"))
    assert sent == {3, 5}  # with the last ones the database builds the JSON


async def test_rows_that_are_longer_than_a_packet(database: Database, session: AsyncSession):
    """The functions of the server return NULL for them."""
    largest = await session.scalar(text("SELECT @@max_allowed_packet")) or 0
    await store(session, *[{"label": "x" * 60_000}] * (largest // 60_000 + 1))
    await session.execute(text("SET SESSION group_concat_max_len = 4294967295"))
    label: Any = create_model("LabelOut", label=(str, ...))
    schema: Any = create_model("Labels", bottles=(list[label], ...))
    with count_queries(database) as seen:
        await assert_equal(session, SHELVES, schema, LOADED)
    await session.execute(text("SET SESSION group_concat_max_len = DEFAULT"))
    assert len(seen) == 5


async def test_names_with_any_characters(database: Database, session: AsyncSession):
    """Of fields, in JSON."""

    class Odd(BaseModel):
        id: int = Field(serialization_alias='"a" \\ %s \n é')

    await store(session, {})
    with assert_queries(database, exactly=2):
        await assert_equal(session, BOTTLES, Odd)


class Padded(BaseModel):
    number: int


class Words(BaseModel):
    words: str


@pytest.mark.parametrize("schema", [Padded, Words])
async def test_types_that_are_not_what_they_seem(database: Database, schema: Any):
    """Zeros before a number are no JSON, and a set is a text to the server alone."""
    assert ": Pydantic validates rows" in answer.explain(schema, Crate, database=database)
