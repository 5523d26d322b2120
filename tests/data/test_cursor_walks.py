"""Walks of cursor pages against a model in plain Python."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cmp_to_key
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import ColumnElement, Select, String, delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from fastapi_asyncdb import CursorQuery, paginate_cursor
from fastapi_asyncdb.data.pages.cursor import CursorPage
from tests.data.one_loop import Run, Work, one_loop


class Base(DeclarativeBase):
    type_annotation_map = {str: String(200)}  # noqa: RUF012 - SQLAlchemy's own


class Thing(Base):
    __tablename__ = "walked"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    word: Mapped[str]
    number: Mapped[int | None]
    half: Mapped[float | None]


class Row(NamedTuple):
    """A row of the model."""

    id: int
    word: str
    number: int | None
    half: float | None

    @property
    def absolute(self) -> int | None:
        """The value of an expression."""
        return None if self.number is None else abs(self.number)


class Key(NamedTuple):
    """A key of an ordering."""

    name: str
    descending: bool
    nulls_first: bool | None

    def clause(self) -> ColumnElement[Any]:
        """Return it as SQLAlchemy has it."""
        column: Any = (
            func.abs(Thing.number, type_=Thing.number.type)
            if self.name == "absolute"
            else getattr(Thing, self.name)
        )
        ordered: ColumnElement[Any] = column.desc() if self.descending else column
        if self.nulls_first is None:
            return ordered
        return ordered.nulls_first() if self.nulls_first else ordered.nulls_last()

    def compare(self, one: Row, other: Row, *, nulls_are_largest: bool) -> int:
        """Compare two rows as the database does."""
        a: Any = getattr(one, self.name)
        b: Any = getattr(other, self.name)
        if a is None or b is None:
            first = self.nulls_first
            if first is None:
                first = self.descending == nulls_are_largest
            return (int(a is not None) - int(b is not None)) * (1 if first else -1)
        return (int(a > b) - int(a < b)) * (-1 if self.descending else 1)


ROWS = st.builds(
    Row,
    st.integers(0, 40),
    st.sampled_from(["a", "b", "c"]),
    st.none() | st.integers(-2, 2),
    st.none() | st.sampled_from([0.1, -1.5, 2.0]),
)
KEYS = st.lists(
    st.builds(
        Key,
        st.sampled_from(["word", "number", "half", "absolute", "id"]),
        st.booleans(),
        st.sampled_from([None, True, False]),
    ),
    max_size=3,
    unique_by=lambda key: key.name,
)
STEPS = st.lists(
    st.sampled_from(["next", "next", "previous"]) | st.tuples(st.sampled_from("+-"), ROWS),
    max_size=12,
)


@dataclass
class Model:
    """What the pages have to be: a list that is sorted, and a position in it."""

    keys: list[Key]
    limit: int
    nulls_are_largest: bool
    rows: dict[int, Row] = field(default_factory=dict)
    backwards: bool = False
    position: Row | None = None

    def compare(self, one: Row, other: Row) -> int:
        """Compare two rows by all keys, and by the primary key."""
        keys = [*self.keys, Key("id", descending=False, nulls_first=None)]
        compared = (
            key.compare(one, other, nulls_are_largest=self.nulls_are_largest) for key in keys
        )
        return next((result for result in compared if result), 0)

    def sorted(self) -> list[Row]:
        """Return all rows in their order."""
        return sorted(self.rows.values(), key=cmp_to_key(self.compare))

    def page(self) -> tuple[list[int], bool, bool]:
        """Return the ids of the page at the position, and whether it has neighbours."""
        rows, came_from = self.sorted(), self.position is not None
        if self.position is not None:
            sign = -1 if self.backwards else 1
            rows = [row for row in rows if sign * self.compare(row, self.position) > 0]
        more = len(rows) > self.limit
        self.items = rows[-self.limit :] if self.backwards else rows[: self.limit]
        has_previous, has_next = (more, came_from) if self.backwards else (came_from, more)
        return [row.id for row in self.items], has_previous, has_next

    def turn(self, step: str) -> None:
        """Move to the next page, or to the previous one."""
        self.backwards = step == "previous"
        edge = self.items[:1] if self.backwards else self.items[-1:]
        self.position = edge[0] if edge else None


@pytest.fixture
def run(database_url: str) -> Iterator[Run]:
    """Run a function with a session whose work is rolled back."""
    with one_loop(database_url, Base.metadata) as loop:

        def run(function: Work) -> None:
            async def work(session: AsyncSession) -> None:
                await function(session)
                await session.rollback()

            loop.write(work)

        yield run


def shown(page: CursorPage[Thing]) -> tuple[list[int], bool, bool]:
    """Return a page as the model has it."""
    has_previous, has_next = page.previous_cursor is not None, page.next_cursor is not None
    return [thing.id for thing in page.items], has_previous, has_next


async def change(session: AsyncSession, model: Model, sign: str, row: Row) -> None:
    """Insert or delete a row, in the database and in the model."""
    await session.execute(delete(Thing).where(Thing.id == row.id))
    model.rows.pop(row.id, None)
    if sign == "+":
        await session.execute(insert(Thing), row._asdict())
        model.rows[row.id] = row


def examples(count: int) -> settings:
    """Return the settings: real databases are slow, and Hypothesis must not measure them."""
    return settings(
        max_examples=count,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


@examples(60)
@given(
    rows=st.lists(ROWS, max_size=12, unique_by=lambda row: row.id),
    keys=KEYS,
    limit=st.integers(1, 4),
    steps=STEPS,
)
def test_a_walk_is_that_of_a_sorted_list(
    run: Run, database_url: str, rows: list[Row], keys: list[Key], limit: int, steps: list[Any]
):
    """Forwards and backwards, mixed directions, NULLs, ties, and rows that come and go meanwhile."""
    model = Model(keys, limit, nulls_are_largest="postgresql" in database_url)

    async def walk(session: AsyncSession) -> None:
        statement = select(Thing).order_by(*(key.clause() for key in keys))
        for row in rows:
            await change(session, model, "+", row)
        page = await paginate_cursor(session, statement, CursorQuery(limit=limit))
        assert shown(page) == model.page()
        for step in steps:
            if isinstance(step, tuple):
                await change(session, model, *step)
                continue
            cursor = page.next_cursor if step == "next" else page.previous_cursor
            if cursor is None:
                continue
            model.turn(step)
            page = await paginate_cursor(session, statement, CursorQuery(cursor, limit))
            assert shown(page) == model.page()

    run(walk)


async def _walk(
    session: AsyncSession, statement: Select[Any], limit: int
) -> tuple[list[Any], list[Any]]:
    """Return the items of all pages forwards, and then backwards, in the same order."""
    page = await paginate_cursor(session, statement, CursorQuery(limit=limit))
    assert page.previous_cursor is None
    forwards = list(page.items)
    while page.next_cursor is not None:
        page = await paginate_cursor(session, statement, CursorQuery(page.next_cursor, limit))
        forwards += page.items
    backwards = list(page.items)
    while page.previous_cursor is not None:
        page = await paginate_cursor(session, statement, CursorQuery(page.previous_cursor, limit))
        backwards = [*page.items, *backwards]
    return forwards, backwards


@examples(15)
@given(
    rows=st.lists(ROWS, max_size=20, unique_by=lambda row: row.id),
    keys=KEYS,
    limit=st.integers(1, 5),
)
def test_a_whole_walk_has_each_row_once_both_ways(
    run: Run, database_url: str, rows: list[Row], keys: list[Key], limit: int
):
    """The walk back has the same items in the same order as the one there."""
    model = Model(keys, limit, nulls_are_largest="postgresql" in database_url)
    model.rows = {row.id: row for row in rows}

    async def walk(session: AsyncSession) -> None:
        if rows:
            await session.execute(insert(Thing), [row._asdict() for row in rows])
        statement = select(Thing.id).order_by(*(key.clause() for key in keys))
        forwards, backwards = await _walk(session, statement, limit)
        assert forwards == backwards == [row.id for row in model.sorted()]

    run(walk)
