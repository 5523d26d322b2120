"""This library: ``Repository``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from benchmarks.data_access.products import PAGE, Product, other_values
from fastapi_asyncdb import CursorQuery, Page, PageQuery, Repository

NEWEST = (Product.changed_at.desc(), Product.id.desc())


class ProductRepository(Repository[Product]):
    """The repository of an application."""


class Products:
    """The repository's verbs."""

    def __init__(self, session: AsyncSession) -> None:
        self._products = ProductRepository(session)

    async def get(self, key: int) -> Product | None:
        """Return the row with the key."""
        return await self._products.get(key)

    async def create(self, number: int) -> Product:
        """Insert a row, and have its key."""
        return await self._products.create(other_values(number))

    async def update(self, key: int) -> Product:
        """Change the row with the key."""
        return await self._products.update(key, {"stock": -1})

    async def page(self, offset: int) -> Page[Product]:
        """Return a page, and the number of all rows."""
        query = PageQuery(offset=offset, limit=PAGE)
        return await self._products.page(query, order_by=Product.id)

    async def rows(self, offset: int) -> Sequence[Product]:
        """Return a page."""
        query = PageQuery(offset=offset, limit=PAGE)
        return (await self._products.page(query, order_by=Product.id, total=None)).items

    async def rows_by_time(self, offset: int) -> Sequence[Product]:
        """Return a page of the newest."""
        query = PageQuery(offset=offset, limit=PAGE)
        return (await self._products.page(query, order_by=NEWEST, total=None)).items

    async def cursor_at(self, offset: int) -> Any:
        """Return where a page starts: the end of the one before."""
        before, query = Product.id > offset - PAGE, CursorQuery(limit=PAGE)
        return (await self._products.cursor_page(query, before, order_by=Product.id)).next_cursor

    async def after(self, cursor: Any) -> Sequence[Product]:
        """Return the page after the cursor."""
        query = CursorQuery(cursor=cursor, limit=PAGE)
        return (await self._products.cursor_page(query, order_by=Product.id)).items

    async def cursor_at_by_time(self, offset: int) -> Any:
        """Return where a page of the newest starts: the end of the one before."""
        first = (await self.rows_by_time(offset - PAGE))[0]
        before, query = Product.id <= first.id, CursorQuery(limit=PAGE)
        return (await self._products.cursor_page(query, before, order_by=NEWEST)).next_cursor

    async def after_by_time(self, cursor: Any) -> Sequence[Product]:
        """Return the page of the newest after the cursor."""
        query = CursorQuery(cursor=cursor, limit=PAGE)
        return (await self._products.cursor_page(query, order_by=NEWEST)).items

    async def create_many(self, rows: Iterable[dict[str, Any]]) -> None:
        """Insert rows."""
        await self._products.create_many(rows)

    async def upsert_many(self, rows: Iterable[dict[str, Any]]) -> None:
        """Insert rows, or change those with the same code."""
        await self._products.upsert_many(rows, conflict=[Product.code])
