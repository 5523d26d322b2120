"""SQLAlchemy's own API for many rows: one statement with the parameters of each row."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncSession

from benchmarks.data_access.by_hand import upsert
from benchmarks.data_access.products import Product, batches


class Products:
    """What takes lists of parameters."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def create_many(self, rows: Iterable[dict[str, Any]]) -> None:
        """Insert rows, in batches."""
        for batch in batches(rows):
            await self._session.execute(insert(Product), batch)

    async def upsert_many(self, rows: Iterable[dict[str, Any]]) -> None:
        """Insert rows, or change those with the same code, in batches."""
        statement = upsert(self._session)
        for batch in batches(rows):
            await self._session.execute(statement, batch)
