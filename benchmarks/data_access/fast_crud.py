"""fastcrud: ``FastCRUD``. It returns dictionaries, and has no way to create many rows.

Its cursors have one column, so it has no pages by time, which several rows share. Its upserts look at
the primary key only, so each row comes with one.

https://benavlabs.github.io/fastcrud/
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from fastcrud import FastCRUD
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession

from benchmarks.data_access.products import PAGE, Product, other_values


class NewProduct(BaseModel):
    """What a client sends."""

    code: str
    name: str
    stock: int
    weight: float
    changed_at: datetime


class StoredProduct(NewProduct):
    """What is in the table."""

    id: int


products = FastCRUD(Product)


class Products:
    """Its verbs, which take a session each."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def get(self, key: int) -> Any:
        """Return the columns of the row with the key."""
        return await products.get(self._session, id=key)

    async def create(self, number: int) -> Any:
        """Insert a row, and have its key."""
        data = NewProduct(**other_values(number))
        return await products.create(
            self._session, data, commit=False, schema_to_select=StoredProduct
        )

    async def update(self, key: int) -> Any:
        """Change the row with the key."""
        return await products.update(
            self._session, {"stock": -1}, commit=False, schema_to_select=StoredProduct, id=key
        )

    async def page(self, offset: int) -> Any:
        """Return a page, and the number of all rows."""
        return await products.get_multi(self._session, offset, PAGE, sort_columns="id")

    async def rows(self, offset: int) -> Any:
        """Return a page."""
        return await products.get_multi(
            self._session, offset, PAGE, sort_columns="id", return_total_count=False
        )

    async def rows_by_time(self, offset: int) -> Any:
        """Return a page of the newest."""
        return await products.get_multi(
            self._session,
            offset,
            PAGE,
            sort_columns=["changed_at", "id"],
            sort_orders=["desc", "desc"],
            return_total_count=False,
        )

    async def cursor_at(self, offset: int) -> Any:
        """Return where a page starts."""
        return offset

    async def after(self, cursor: Any) -> Any:
        """Return the page after the cursor."""
        return await products.get_multi_by_cursor(self._session, cursor=cursor, limit=PAGE)

    async def upsert_many(self, rows: Iterable[dict[str, Any]]) -> None:
        """Insert rows, or change those with the same key."""
        data = [StoredProduct(id=number, **row) for number, row in enumerate(rows, 1)]
        await products.upsert_multi(self._session, data)
