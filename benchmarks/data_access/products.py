"""The table that is read and written, and its rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import DateTime, delete, insert, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

T = TypeVar("T")
BATCH = 1000
"""Rows of one statement, where it is written by hand."""
PAGE = 50
"""Rows of one page."""
START = datetime(2026, 1, 1, tzinfo=UTC)


class Base(DeclarativeBase):
    """The declarative base of the table."""


class Product(Base):
    """A row of six columns, as imports bring them: the code is the other system's key."""

    __tablename__ = "benchmark_product"
    id: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    stock: Mapped[int]
    weight: Mapped[float]
    changed_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


UPDATED = ("name", "stock", "weight", "changed_at")
"""What an upsert changes."""


def new_values(number: int) -> dict[str, Any]:
    """Return the values of a row, without its key; three rows each have the same time."""
    return {
        "code": f"P-{number:08}",
        "name": f"Product number {number}",
        "stock": number % 1000,
        "weight": number / 8,
        "changed_at": START + timedelta(seconds=number // 3),
    }


def other_values(number: int) -> dict[str, Any]:
    """Return the values of a row that the table does not have."""
    return new_values(-number)


def new_rows(count: int) -> Iterator[dict[str, Any]]:
    """Yield rows; in an empty table they get the keys from 1."""
    return map(new_values, range(1, count + 1))


def batches(rows: Iterable[T]) -> Iterator[list[T]]:
    """Yield lists of ``BATCH`` rows."""
    iterator = iter(rows)
    while batch := list(islice(iterator, BATCH)):
        yield batch


async def create_products(url: str) -> None:
    """Create the table, without rows."""
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)
        await connection.run_sync(Base.metadata.create_all)
    await engine.dispose()


async def replace_products(session: AsyncSession, count: int) -> None:
    """Empty the table, and insert so many rows."""
    if session.get_bind().dialect.name == "postgresql":
        await session.execute(text(f"TRUNCATE {Product.__tablename__} RESTART IDENTITY"))
    else:
        await session.execute(delete(Product))
    for batch in batches(new_rows(count)):
        await session.execute(insert(Product), batch)


GENERATED = f"""
INSERT INTO {Product.__tablename__} (code, name, stock, weight, changed_at)
SELECT 'P-' || lpad(i::text, 8, '0'), 'Product number ' || i, i % 1000, i / 8.0,
       '{START.isoformat()}'::timestamptz + i / 3 * interval '1 second'
FROM generate_series(1, :count) AS i ORDER BY i
"""  # noqa: S608 - no value of others


async def generate_products(url: str, count: int) -> None:
    """Create the table in PostgreSQL with many rows, and an index for the order by time."""
    await create_products(url)
    engine = create_async_engine(url, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        await connection.execute(text(GENERATED), {"count": count})
        await connection.execute(
            text(f"CREATE INDEX ON {Product.__tablename__} (changed_at, id)"),
        )
        await connection.execute(text(f"VACUUM ANALYZE {Product.__tablename__}"))
    await engine.dispose()
