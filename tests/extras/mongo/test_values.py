"""Values are data: what is stored, and what is refused as an operator."""

import re
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from bson import Code, ObjectId, Regex
from bson.decimal128 import Decimal128

from fastapi_asyncdb.errors import InvalidValue
from fastapi_asyncdb.extras.mongo import MongoDatabase, MongoRepository
from fastapi_asyncdb.extras.mongo.values import equals, plain
from tests.extras.mongo.library import Author, Book, Kind

OPERATORS: list[Any] = [
    {"$gt": ""},
    {"$ne": None},
    {"$where": "sleep(1000)"},
    {"$regex": ".*"},
    {"a": {"b": [{"$gt": ""}]}},
    {"a.b": 1},
    {"a\0": 1},
    {1: 2},
]


@pytest.mark.parametrize("value", OPERATORS, ids=str)
def test_operator_is_refused_as_a_value(value: Any):
    """Wherever it is nested."""
    for place in (value, [value], {"field": value}):
        with pytest.raises(InvalidValue, match=r"as an operator or a path"):
            plain(place)


@pytest.mark.parametrize("value", OPERATORS[:4], ids=str)
async def test_operator_is_refused_by_each_verb(mongo: MongoDatabase, value: Any):
    """A filter that a client has sent matches no document and changes none."""
    async with mongo.session() as session:
        authors, books = MongoRepository[Author](session), MongoRepository[Book](session)
        ada = await authors.create(name="Ada", email="ada")
        tea = await books.create(title="Tea")
        for work in (
            authors.find_one(email=value),
            authors.list(email=value),
            authors.count(email=value),
            authors.exists(email=value),
            authors.search("x", email=value),
            authors.delete_where(email=value),
            authors.update_where({"name": "Eve"}, email=value),
            authors.update_where({"name": value}, email="ada"),
            authors.update(ada, name=value),
            books.update(tea, details=value),
            books.create(title="Coffee", details=value),
            books.create_many([{"title": "Coffee", "details": value}]),
            books.upsert({"title": "Tea", "details": value}, conflict=["title"]),
        ):
            with pytest.raises(InvalidValue):
                await work
        assert (await authors.get(value), await authors.count(), await books.count()) == (
            None,
            1,
            1,
        )


def test_patterns_and_code_are_no_values():
    """A pattern in a filter would match what a client likes."""
    for value in (re.compile("a"), Regex("a")):
        with pytest.raises(TypeError, match="MongoDB cannot store a"):
            plain(value)
    assert type(plain(Code("f()"))) is str
    assert equals("name", "a") == {"name": {"$eq": "a"}}


def test_conversions():
    """Enums by value, sets as lists, decimals as Decimal128; the rest as it is."""
    key, now, number = ObjectId(), datetime.now(UTC), uuid4()
    assert plain([Kind.NOVEL, {1}, Decimal("1.5"), key, now, number, b"x", None, True, 1.5]) == [
        "novel",
        [1],
        Decimal128("1.5"),
        key,
        now,
        number,
        b"x",
        None,
        True,
        1.5,
    ]
    with pytest.raises(TypeError, match=r"a date\. Use a type of BSON"):
        plain(date(2026, 1, 1))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (2**63, "more than 64 bits"),
        (Decimal("1." + "1" * 40), "34 digits"),
        (datetime(2026, 1, 1), "no time zone"),  # noqa: DTZ001
        ("\ud800", "half a character"),
    ],
    ids=["integer", "decimal", "datetime", "surrogate"],
)
def test_values_that_do_not_fit(value: Any, message: str):
    """They are the client's mistake, and no 500."""
    with pytest.raises(InvalidValue, match=message):
        plain(value)


def test_deep_nesting_is_refused():
    """Not by Python's recursion limit, nor by the server's."""
    value: Any = 1
    for _ in range(500):
        value = [value]
    with pytest.raises(InvalidValue, match="nested deeper than 90 levels"):
        plain(value)


async def test_values_come_back_as_they_were(mongo: MongoDatabase):
    """Decimals, UUIDs, enums and aware datetimes, to the millisecond."""
    now = datetime.now(UTC)
    isbn = UUID("12345678-1234-5678-1234-567812345678")
    async with mongo.session() as session:
        books = MongoRepository[Book](session)
        book = await books.create(
            title="Tea",
            price=Decimal("12.30"),
            kind=Kind.ESSAY,
            isbn=isbn,
            published=now,
            page_count=7,
        )
        found = await books.get_or_raise(book.id)
        assert (found.price, found.kind, found.isbn) == (Decimal("12.30"), Kind.ESSAY, isbn)
        assert found.published == now.replace(microsecond=now.microsecond // 1000 * 1000)
        assert found.published is not None
        assert found.published.tzinfo is UTC
        stored = await mongo.database["books"].find_one({"isbn": isbn})
        assert stored is not None
        assert (stored["pageCount"], stored["kind"]) == (7, "essay")
        assert await books.find_one(page_count=7, price=Decimal("12.30"), kind=Kind.ESSAY) == found
