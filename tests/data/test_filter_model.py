"""Filters against a model in plain Python: the same rows, the same query string.

``make test-filters`` runs many more examples.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from functools import cmp_to_key
from typing import Annotated, Any
from urllib.parse import urlencode
from uuid import UUID

import pytest
from fastapi import Depends, FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from sqlalchemy import insert, make_url, select
from sqlalchemy.ext.asyncio import AsyncSession

from tests.data.blog import Base, Comment, Post, PostFilter, Status, Writer
from tests.data.one_loop import one_loop
from tests.support.application import client

# Few values, so that rows and filters meet; all that LIKE, URLs and SQL take for their own.
WRITERS: dict[int, str] = {1: "Ada", 2: "Bob"}
TITLES = st.text("aAbB%_/\\'é&=;+, ", max_size=4)
WORDS = st.sampled_from(["ab", "abc", "ca", "bb"])
TEXTS = st.lists(WORDS, max_size=3).map(" ".join)
COMMENTS = st.sampled_from(["a", "A%", "b_"])
SMALL = st.integers(-2, 2)
TIMES = st.integers(-3, 3).map(
    lambda hours: datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=hours)
)

VALUES: dict[str, SearchStrategy[Any]] = {
    "title": TITLES,
    "body": TEXTS,
    "note": st.none() | TEXTS,
    "views": SMALL,
    "rank": st.sampled_from([-(2**15), 0, 2**15 - 1]),
    "size": st.sampled_from([-(2**63), 0, 2**63 - 1]),
    "score": st.none() | st.sampled_from([0.1, -1.5, 0.0, 1e300]),
    "ratio": st.sampled_from([0.5, -2.0, 0.0]),
    "price": st.sampled_from(list(map(Decimal, ["-0.01", "0", "9999.99", "1.5"]))),
    "status": st.sampled_from(Status),
    "public": st.booleans(),
    "token": st.integers(0, 2).map(lambda number: UUID(int=number)),
    "made_at": st.none() | TIMES,
    "local_at": TIMES.map(lambda moment: moment.replace(tzinfo=None)),
    "day": st.dates(date(2024, 1, 1), date(2024, 1, 3)),
    "hour": st.sampled_from([time(0), time(12, 30), time(23, 59, 59, 999999)]),
}


@dataclass(frozen=True)
class Row:
    """A post with its writer and the texts of its comments."""

    columns: dict[str, Any]
    writer_id: int | None
    comments: list[str]

    def values(self, name: str) -> Sequence[Any]:
        """Return what a filter compares: the column, or those of related rows."""
        if name == "writer":
            return [] if self.writer_id is None else [WRITERS[self.writer_id]]
        if name == "boss":  # Bob's is Ada
            return ["Ada"] if self.writer_id == 2 else []
        return self.comments if name == "comment" else [self.columns[name]]


ROWS = st.lists(
    st.builds(
        Row,
        st.fixed_dictionaries(VALUES),
        st.none() | st.sampled_from(list(WRITERS)),
        st.lists(COMMENTS, max_size=2),
    ),
    max_size=5,
)


def lower(value: str) -> str:
    """Return a text as every database lowers it."""
    return "".join(each.lower() if each.isascii() else each for each in value)


def ignoring_case(compare: Callable[[str, str], bool]) -> Callable[[str, str], bool]:
    """Return a comparison of texts that ignores the case."""
    return lambda one, other: compare(lower(one), lower(other))


COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    **{name: getattr(operator, name) for name in ("eq", "ne", "lt", "le", "gt", "ge", "contains")},
    "in": lambda value, values: value in values,
    "not_in": lambda value, values: value not in values,
    "icontains": ignoring_case(operator.contains),
    "startswith": str.startswith,
    "istartswith": ignoring_case(str.startswith),
    "endswith": str.endswith,
    "iendswith": ignoring_case(str.endswith),
}
LIKE = ("contains", "startswith", "endswith")


def as_text(value: Any) -> str:
    """Return a value as a client writes it."""
    if isinstance(value, Status):
        return str(value.value)
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(timezone(timedelta(hours=2))).isoformat()
    return value.isoformat() if isinstance(value, date | time) else str(value)


@dataclass(frozen=True)
class Condition:
    """A parameter with its value."""

    name: str
    operator: str
    value: Any

    def pairs(self) -> list[tuple[str, str]]:
        """Return what the client sends."""
        name = self.name if self.operator in ("eq", "search") else f"{self.name}__{self.operator}"
        values = self.value if isinstance(self.value, list) else [self.value]
        return [(name, as_text(value)) for value in values]

    def holds(self, row: Row, kind: str) -> bool:
        """Return whether a row, or one of its related rows, fulfils it; NULL fulfils nothing."""
        if self.operator == "search":
            return self._is_found(f"{row.columns['body']} {row.columns['note'] or ''}", kind)
        values = row.values(self.name)
        if self.operator == "is_null":
            return any((value is None) == self.value for value in values)
        # On SQLite, LIKE ignores the case of ASCII letters.
        name = f"i{self.operator}" if kind == "sqlite" and self.operator in LIKE else self.operator
        mine = self.value
        # MySQL's collations of this kind ignore spaces at the end; LIKE does not.
        if kind == "mysql" and name in ("eq", "ne", "in", "not_in"):
            mine, values = _without_padding(mine), _without_padding(list(values))
        return any(value is not None and COMPARE[name](value, mine) for value in values)

    def _is_found(self, text: str, kind: str) -> bool:
        words = text if kind != "postgresql" else text.split()
        found = (word in words for word in self.value.split())
        return all(found)


def _without_padding(value: Any) -> Any:
    if isinstance(value, list):
        return list(map(_without_padding, value))
    return value.rstrip(" ") if isinstance(value, str) else value


def _values_of(name: str) -> SearchStrategy[Any]:
    if name in ("writer", "boss"):
        return st.sampled_from([*WRITERS.values(), "ada", ""])
    return COMMENTS if name == "comment" else VALUES[name].filter(lambda value: value is not None)


def _condition(name: str) -> SearchStrategy[Condition]:
    column, _, found = name.partition("__")
    if name == "search":
        return st.builds(Condition, st.just(name), st.just("search"), TEXTS)
    value = _values_of(column)
    if found == "is_null":
        value = st.booleans()
    if found in ("in", "not_in"):
        value = st.lists(value, min_size=1, max_size=3)
    return st.builds(Condition, st.just(column), st.just(found or "eq"), value)


NAMES = [
    name
    for name in PostFilter._parameters
    if name.partition("__")[0] in {*VALUES, "writer", "boss", "comment", "search"}
]
CONDITIONS = st.lists(
    st.sampled_from(NAMES).flatmap(_condition),
    max_size=3,
    unique_by=lambda each: (each.name, each.operator),
)
ORDERS = st.lists(
    st.tuples(st.sampled_from(["views", "made_at", "score", "text"]), st.booleans()),
    min_size=1,
    max_size=3,
    unique_by=lambda order: order[0],
)


@dataclass
class Wanted:
    """A request: conditions, alternatives, an order."""

    conditions: list[Condition]
    alternatives: list[list[Condition]] = field(default_factory=list)
    order: list[tuple[str, bool]] = field(default_factory=list)

    def query(self) -> str:
        """Return the query string."""
        pairs = [pair for condition in self.conditions for pair in condition.pairs()]
        for alternative in self.alternatives:
            inner = [pair for condition in alternative for pair in condition.pairs()]
            pairs.append(("either", urlencode(inner)))
        if self.order:
            keys = [f"-{name}" if descending else name for name, descending in self.order]
            pairs.append(("order_by", ",".join(keys)))
        return urlencode(pairs)

    def expected(self, rows: list[Row], kind: str) -> list[int]:
        """Return the places of the rows that are to be found."""

        def all_hold(conditions: list[Condition], row: Row) -> bool:
            return all(condition.holds(row, kind) for condition in conditions)

        found = [
            (place, row)
            for place, row in enumerate(rows)
            if all_hold(self.conditions, row)
            and (not self.alternatives or any(all_hold(each, row) for each in self.alternatives))
        ]

        def compare(one: tuple[int, Row], other: tuple[int, Row]) -> int:
            return self._compare(one[1], other[1], kind)

        return [place for place, _ in sorted(found, key=cmp_to_key(compare))]

    def _compare(self, one: Row, other: Row, kind: str) -> int:
        for name, descending in self.order or [("views", True)]:
            column = "body" if name == "text" else name
            a, b = one.columns[column], other.columns[column]
            # NULL is the largest value of PostgreSQL, and the smallest of the others.
            keys = [((value is not None) == (kind != "postgresql"), value) for value in (a, b)]
            if a != b:
                less = keys[0] < keys[1] if keys[0][0] == keys[1][0] else keys[0][0] < keys[1][0]
                return 1 if less == descending else -1
        return 0


WANTED = st.builds(
    Wanted,
    CONDITIONS,
    st.lists(CONDITIONS.filter(bool), max_size=3),
    st.just([]) | ORDERS,
)
Find = Callable[[list[Row], str], list[int]]


@pytest.fixture
def find(database_url: str) -> Iterator[Find]:
    """Return the places of the rows that a query string finds."""
    app, parsed = FastAPI(), list[PostFilter]()

    @app.get("/")
    async def parse(filters: Annotated[PostFilter, Depends()]) -> None:
        parsed.append(filters)

    async def search(session: AsyncSession, rows: list[Row], query: str) -> list[int]:
        async with client(app) as http:
            answer = await http.get(f"/?{query}")
        assert answer.status_code == 200, (query, answer.text)
        await store(session, rows)
        statement = parsed.pop().apply(select(Post.id)).order_by(Post.id)
        found = list(await session.scalars(statement))
        await session.rollback()
        return found

    with one_loop(database_url, Base.metadata) as loop:
        loop.write(_store_writers)

        def find(rows: list[Row], query: str) -> list[int]:
            found: list[int] = []

            async def work(session: AsyncSession) -> None:
                found.extend(await search(session, rows, query))

            loop.write(work)
            return found

        yield find


async def _store_writers(session: AsyncSession) -> None:
    session.add_all([Writer(id=1, name="Ada"), Writer(id=2, name="Bob", boss_id=1)])


async def store(session: AsyncSession, rows: list[Row]) -> None:
    """Insert posts with their places as keys."""
    if rows:
        posts = [
            {"id": place, "writer_id": row.writer_id, **row.columns}
            for place, row in enumerate(rows)
        ]
        await session.execute(insert(Post), posts)
    comments = [
        {"post_id": place, "text": each} for place, row in enumerate(rows) for each in row.comments
    ]
    if comments:
        await session.execute(insert(Comment), comments)


@settings(
    max_examples=int(os.environ.get("FILTER_EXAMPLES", "25")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(rows=ROWS, wanted=WANTED)
def test_filters_find_what_a_loop_in_python_finds(
    find: Find, database_url: str, rows: list[Row], wanted: Wanted
):
    """Operators, types, relations, searches, alternatives and orders, in any combination."""
    expected = wanted.expected(rows, make_url(database_url).get_backend_name())
    assert find(rows, wanted.query()) == expected
