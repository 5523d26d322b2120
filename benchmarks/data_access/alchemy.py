"""advanced-alchemy: ``SQLAlchemyAsyncRepository``. It has no pages by cursor.

https://docs.advanced-alchemy.litestar.dev/latest/usage/repositories.html
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from advanced_alchemy.filters import LimitOffset, OrderBy
from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from sqlalchemy.ext.asyncio import AsyncSession

from benchmarks.data_access.products import PAGE, Product, other_values

BY_KEY = OrderBy("id")
NEWEST = (OrderBy("changed_at", "desc"), OrderBy("id", "desc"))


class ProductRepository(SQLAlchemyAsyncRepository[Product]):  # type: ignore[misc]
    """The repository of an application."""

    model_type = Product


class Products:
    """The repository's verbs."""

    def __init__(self, session: AsyncSession) -> None:
        self._products = ProductRepository(session=session)

    async def get(self, key: int) -> Product:
        """Return the row with the key."""
        product: Product = await self._products.get(key)
        return product

    async def create(self, number: int) -> Product:
        """Insert a row, and have its key."""
        product: Product = await self._products.add(Product(**other_values(number)))
        return product

    async def update(self, key: int) -> Product:
        """Change the row with the key."""
        product: Product = await self._products.update(Product(id=key, stock=-1))
        return product

    async def page(self, offset: int) -> tuple[Sequence[Product], int]:
        """Return a page, and the number of all rows."""
        rows, total = await self._products.get_many_and_count(LimitOffset(PAGE, offset), BY_KEY)
        return rows, total

    async def rows(self, offset: int) -> Sequence[Product]:
        """Return a page."""
        rows: Sequence[Product] = await self._products.get_many(LimitOffset(PAGE, offset), BY_KEY)
        return rows

    async def rows_by_time(self, offset: int) -> Sequence[Product]:
        """Return a page of the newest."""
        rows: Sequence[Product] = await self._products.get_many(LimitOffset(PAGE, offset), *NEWEST)
        return rows

    async def create_many(self, rows: Iterable[dict[str, Any]]) -> None:
        """Insert rows."""
        await self._products.add_many([Product(**row) for row in rows])

    async def upsert_many(self, rows: Iterable[dict[str, Any]]) -> None:
        """Insert rows, or change those with the same code."""
        products = [Product(**row) for row in rows]
        await self._products.upsert_many(products, match_fields=["code"])
