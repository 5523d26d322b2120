"""Rows of the museum: of the tables that an example reads, with values in the columns that it reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from itertools import product
from typing import Any

from hypothesis import strategies as st
from sqlalchemy import Column, Table, insert, literal_column
from sqlalchemy.ext.asyncio import AsyncSession

from tests.data.answers.museum.columns import DEFAULTS
from tests.data.answers.museum.models import Base
from tests.data.answers.museum.values import Raw, values
from tests.data.answers.museum.wanted import Wanted

Draw = Callable[..., Any]
Row = dict[str, Any]
Rows = dict[str, list[Row]]
"""The rows of each table, by the names of its columns."""

KINDS = {"piece": ["piece", "painting", "sculpture"], "visitor": ["visitor", "member", "guest"]}
"""The classes of a hierarchy."""
PAIRS = {"visit", "exhibit_tag", "similar"}
"""Tables whose rows are pairs of others."""


@st.composite
def rows(draw: Draw, wanted: Wanted, database: str) -> Rows:
    """Return rows for the tables.

    Args:
        draw: Hypothesis' function.
        wanted: The tables, and the columns that are read.
        database: The name of SQLAlchemy's dialect.
    """
    maker = Maker(draw, wanted, database)
    for table in wanted.all_tables():
        maker.fill(table)
    return maker.found


class Maker:
    """Makes rows, whose foreign keys are those of rows before."""

    def __init__(self, draw: Draw, wanted: Wanted, database: str) -> None:
        self._draw = draw
        self._wanted = wanted
        self._database = database
        self.found: Rows = {}

    def fill(self, table: Table) -> None:
        """Make the rows of a table."""
        self.found[table.name] = []
        for keys in self._keys(table):
            row = dict(keys)
            for column in table.columns:
                if column.name not in row and column.computed is None:
                    row[column.name] = self._value(column, row)
            self.found[table.name].append(row)

    def _keys(self, table: Table) -> Iterable[Row]:
        """Return the primary keys of the rows, or all columns of a table without one."""
        if table.name in ("painting", "sculpture"):
            pieces = self.found["piece"]
            return [{"id": row["id"]} for row in pieces if row["kind"] == table.name]
        if table.name in PAIRS:
            return self._pairs(table)
        if table.name == "insurance":
            owners = self._draw(st.lists(st.sampled_from(self._ids("exhibit") or [0]), unique=True))
            return [{"id": number, "exhibit_id": number} for number in owners if number]
        if table.name == "stamp":
            visits = [
                {"visitor_id": v["visitor_id"], "room_id": v["room_id"]}
                for v in self.found["visit"]
            ]
            chosen = self._draw(st.lists(st.sampled_from(visits), max_size=4)) if visits else []
            return [{"id": number, **visit} for number, visit in enumerate(chosen, 1)]
        required = (c for c in table.columns if c.foreign_keys and not c.nullable)
        possible = all(self._ids(_target(column)) for column in required)
        count = self._draw(st.sampled_from([1, 2, 3, 0, 2])) if possible else 0
        return [{"id": number} for number in range(1, count + 1)]

    def _pairs(self, table: Table) -> Iterable[Row]:
        names = [column.name for column in table.columns if column.foreign_keys]
        ids = (self._ids(_target(table.c[name])) for name in names)
        pairs = [dict(zip(names, each, strict=True)) for each in product(*ids)]
        if not pairs:
            return []
        unique = table.name != "similar"
        places = st.lists(st.integers(0, len(pairs) - 1), max_size=4, unique=unique)
        return [pairs[place] for place in sorted(self._draw(places))]

    def _value(self, column: Column[Any], row: Row) -> Any:
        if column.foreign_keys:
            ids: Sequence[Any] = self._ids(_target(column))
            if _target(column) == column.table.name:
                ids = range(1, row["id"])
            return self._draw(st.sampled_from([*ids, None] if column.nullable else ids))
        if column.name == "kind":
            return self._draw(st.sampled_from(KINDS[column.table.name]))
        if column.name == "deleted_at":
            return self._draw(st.sampled_from([None, None, datetime(2024, 1, 1, tzinfo=UTC)]))
        if column.info["kind"] == "rank":
            return 100 - int(row["tag_id"])
        kind = column.info["kind"]
        if column not in self._wanted.columns:
            return None if column.nullable else DEFAULTS[kind]
        value = values(kind, self._database)
        return self._draw(value | st.none() | value if column.nullable else value)

    def _ids(self, table: str) -> list[int]:
        return [row["id"] for row in self.found.get(table, ())]


def _target(column: Column[Any]) -> str:
    [key] = column.foreign_keys
    return str(key.column.table.name)


async def store(session: AsyncSession, found: Rows) -> None:
    """Insert rows."""
    for name, each in found.items():
        table = Base.metadata.tables[name]
        if any(isinstance(value, Raw) for row in each for value in row.values()):
            for row in each:
                await session.execute(insert(table).values({key: _sql(row[key]) for key in row}))
        elif each:
            await session.execute(insert(table), each)


def _sql(value: Any) -> Any:
    return literal_column(value.sql) if isinstance(value, Raw) else value
