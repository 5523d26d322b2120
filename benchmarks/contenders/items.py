"""The table that all contenders read and write."""

from __future__ import annotations

from sqlalchemy import String, insert
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """The declarative base of the table."""


class Item(Base):
    """The row that a request reads or writes."""

    __tablename__ = "benchmark_item"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(200))


async def create_items(url: str, count: int = 100) -> None:
    """Create the table with some rows."""
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
        await connection.execute(insert(Item), [{"name": "name"} for _ in range(count)])
    await engine.dispose()
