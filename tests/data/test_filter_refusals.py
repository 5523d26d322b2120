"""Query strings that filters refuse: 422, which says what is allowed, and no statement."""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from httpx import AsyncClient
from sqlalchemy import MetaData, event

from fastapi_asyncdb import Database
from tests.data.blog import Base, Post, PostFilter, application, found, refused, served
from tests.support.application import Request
from tests.support.databases import ONE_DRIVER


@pytest.fixture
def tables() -> MetaData:
    """The tables of the blog."""
    return Base.metadata


@pytest.fixture
async def client(database: Database) -> AsyncIterator[AsyncClient]:
    """A client of the application, with one post."""
    async with served(database, Post(id=1, title="a")) as client:
        yield client


@pytest.fixture
async def statements(client: AsyncClient, database: Database) -> list[str]:
    """What is executed."""
    executed: list[str] = []

    @event.listens_for(database.read_engine.sync_engine, "before_cursor_execute")
    def note(connection: object, cursor: object, statement: str, *arguments: object) -> None:
        executed.append(statement)

    return executed


SQL = (
    "' OR 1=1 --",
    "1; DROP TABLE post",
    "1) UNION SELECT name FROM writer --",
    "pg_sleep(10)",
    '"; DELETE FROM post; --',
    "%' ESCAPE '/",
    "\\",
    "$1",
    ":title_1",
    "%(title_1)s",
)
TEXTS = {"title", "body", "note", "writer", "boss", "comment", "commenter", "search", "tag"}


async def test_sql_in_a_text_is_a_text(client: AsyncClient):
    """It is compared or searched for, as any other text."""
    for name in PostFilter._parameters:
        column, _, operator = name.partition("__")
        if column in TEXTS and operator not in ("is_null", "ne", "not_in", "lt", "le", "gt", "ge"):
            for sql in SQL:
                assert await found(client, urlencode({name: sql})) == [], (name, sql)
    assert await found(client, "") == [1]


@pytest.mark.databases(*ONE_DRIVER[:1])
async def test_sql_in_another_parameter_is_refused(client: AsyncClient, statements: list[str]):
    """It is no number, no date, no name of an order; and no alternative."""
    for name in (*PostFilter._parameters, "limit", "offset"):
        column, _, operator = name.partition("__")
        if column not in TEXTS or operator == "is_null":
            for sql in SQL[:3]:
                await refused(client, urlencode({name: sql}))
                if column not in ("order_by", "either", "limit", "offset"):
                    await refused(client, urlencode({"either": urlencode({name: sql})}))
    assert statements == []


REFUSED: dict[str, tuple[str, str]] = {
    "forbidden field": ("secret=1", "unknown_parameter"),
    "forbidden relation": ("writer.name=a", "unknown_parameter"),
    "path of relations": ("writer__boss__name=a", "unknown_parameter"),
    "unknown operator": ("views__regex=a", "unknown_parameter"),
    "forbidden operator": ("id__lt=1", "unknown_parameter"),
    "name of Python's": ("__class__=a", "unknown_parameter"),
    "name of ours": ("query_check=a", "unknown_parameter"),
    "self": ("self=a", "unknown_parameter"),
    "NUL in a name": ("%00=a", "unknown_parameter"),
    "long name": ("a" * 60_000 + "=1", "unknown_parameter"),
    "forbidden order": ("order_by=title", "literal_error"),
    "SQL as order": ("order_by=views;", "literal_error"),
    "two minuses": ("order_by=--views", "literal_error"),
    "empty order": ("order_by=", "literal_error"),
    "order twice": ("order_by=views,-views", "value_error"),
    "long order": ("order_by=" + ",".join(["views"] * 100), "too_long"),
    "repeated": ("title=a&title=b", "repeated_parameter"),
    "commas": ("id__in=" + ",".join(["1"] * 400), "int_parsing"),
    "many commas": ("id__in=" + ",".join(["1"] * 10_000), "long_parameter"),
    "long text": ("title=" + "a" * 1_001, "long_parameter"),
    "many words": ("search=" + "a+" * 21, "value_error"),
    "NUL": ("title=%00", "value_error"),
    "NUL in a search": ("search=%00", "value_error"),
    "NUL in an alternative": ("either=title=%2500", "value_error"),
    "no pair": ("either=a", "alternative"),
    "empty alternative": ("either=", "alternative"),
    "forbidden in an alternative": ("either=secret=1", "unknown_parameter"),
    "order in an alternative": ("either=order_by=views", "unknown_parameter"),
    "nested": ("either=either=views=1", "unknown_parameter"),
    "nested deeply": ("either=" + "either%3D" * 100, "unknown_parameter"),
    "1,000 levels": ("either=" + quote("either=" * 1_000), "long_parameter"),
    "1,000 alternatives": ("either=views=1&" * 1_000, "repeated_parameter"),
    "long alternative": ("either=" + "%26".join(["id__in=1"] * 21), "alternative"),
    "repeated in one": ("either=views=1%26views=2", "repeated_parameter"),
    "large id": ("id=99999999999999999999", "less_than"),
    "views below 32 bits": ("views=-2147483649", "greater_than_equal"),
    "rank above 16 bits": ("rank=32768", "less_than"),
    "size above 64 bits": (f"size={2**63}", "less_than"),
    "digits": ("views=" + "9" * 900, "less_than"),
    "fraction": ("views=1.5", "int_parsing"),
    "NaN": ("score=nan", "finite_number"),
    "infinite": ("score=-inf", "finite_number"),
    "above REAL": ("ratio=1e39", "value_error"),
    "below REAL": ("ratio=1e-60", "value_error"),
    "decimal NaN": ("price=NaN", "finite_number"),
    "digits of a decimal": ("price=9999.999", "decimal_max_digits"),
    "large decimal": ("price=1e4", "decimal_whole_digits"),
    "places of a decimal": ("price=0.001", "decimal_max_places"),
    "huge decimal": ("exact=1e999999", "decimal_max_digits"),
    "tiny decimal": ("exact=1e-999999", "decimal_max_digits"),
    "name of an enum": ("status=DRAFT", "enum"),
    "bool": ("public=maybe", "bool_parsing"),
    "UUID": ("token=1", "uuid_parsing"),
    "no time zone": ("made_at=2024-01-01T00:00:00", "timezone_aware"),
    "before year 1": ("made_at=0001-01-01T00:00:00%2B02:00", "value_error"),
    "after year 9999": ("made_at=9999-12-31T23:59:59-02:00", "value_error"),
    "time zone": ("local_at=2024-01-01T00:00:00Z", "timezone_naive"),
    "year 0": ("day=0000-01-01", "date_parsing"),
    "infinity": ("day=infinity", "date_from_datetime_parsing"),
    "hour": ("hour=25:00", "time_parsing"),
    "hour with a time zone": ("hour=12:00Z", "value_error"),
    "empty bool": ("note__is_null=", "bool_parsing"),
}


@pytest.mark.databases(*ONE_DRIVER[:1])
async def test_what_is_refused(client: AsyncClient, statements: list[str]):
    """With a short answer, and before the database sees anything."""
    for name, (query, kind) in REFUSED.items():
        errors = await refused(client, query.rstrip("&"))
        assert kind in {error["type"] for error in errors}, name
        assert all(error["loc"][0] == "query" for error in errors), name
        assert len(errors) <= 10, name
        assert all(len(str(part)) <= 100 for error in errors for part in error["loc"]), name
    assert statements == []


@pytest.mark.databases(*ONE_DRIVER[:1])
@pytest.mark.parametrize(
    "query",
    ["&".join(f"a{n}=1" for n in range(10_000)), "&".join(f"title__in={n}" for n in range(10_000))],
    ids=["names", "values"],
)
async def test_ten_thousand_parameters_are_refused(database: Database, query: str):
    """By their number, and the answer does not repeat them."""
    request = Request(application(database), f"/posts?{query}")
    await request.run()
    assert request.status == 422
    assert b"too_many_parameters" in request.body
    assert len(request.body) < 1_000


@pytest.mark.databases(*ONE_DRIVER[:1])
async def test_the_answer_says_what_is_allowed(client: AsyncClient):
    """Names of parameters, of orders, and values."""
    (error,) = await refused(client, "titel=a")
    assert error["loc"] == ["query", "titel"]
    allowed = error["msg"].rstrip(".").partition("Allowed are: ")[2].split(", ")
    assert allowed == sorted([*PostFilter._parameters, "limit", "offset"])
    (error,) = await refused(client, "order_by=title")
    assert "'views', '-views'" in error["msg"]
    (error,) = await refused(client, "status=new")
    assert error["msg"] == "Input should be 'draft' or 'out'"
    (error,) = await refused(client, "either=titel=a")
    assert (error["loc"], "title__icontains" in error["msg"]) == (["query", "either", 0], True)
    (error,) = await refused(client, "either=id=1%26views=a")
    assert error["loc"] == ["query", "either", 0, "views"]


EDGES: dict[str, list[Any]] = {
    "title": ["a" * 900, "\ud7ff", "\U0010ffff", "\x01", "%_\\/"],
    "body__lt": ["", "\U0010ffff"],
    "rank": [-(2**15), 2**15 - 1],
    "views": [-(2**31), 2**31 - 1],
    "views__in": [-(2**31), 2**31 - 1],
    "size": [-(2**63), 2**63 - 1],
    "score": [1.7e308, -5e-324, -1.7e308],
    "ratio": [3.4e38, 1.2e-38, 1.5e-45],
    "price": ["9999.99", "-9999.99", "0.01", "-0", "1e3", "0e999999999"],
    "price__lt": ["9999.99"],
    "exact": ["9" * 200, "1e199", "1e-199", "0e999999999", "0e-9999"],
    "made_at": ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "2024-01-01T00:00:00-23:59"],
    "local_at": ["0001-01-01T00:00:00", "9999-12-31T23:59:59.999999"],
    "day": ["0001-01-01", "9999-12-31"],
    "hour": ["00:00", "23:59:59.999999"],
    "search": [
        "&|!():*<->",
        '"',
        "-",
        "or",
        "a" * 900,
        "%_\\/",
        "\U0010ffff",
        "-" * 900,
        "-(" * 200,
    ],
}


async def test_what_is_accepted_the_database_accepts(client: AsyncClient):
    """The edges of each range, on every database."""
    for name, values in EDGES.items():
        for value in values:
            await found(client, urlencode({name: value}))
            await found(client, urlencode({"either": urlencode({name: value})}))
    await found(client, urlencode([("id__in", n) for n in range(100)]))
    await found(client, urlencode([("either", f"id={n}") for n in range(10)]))
