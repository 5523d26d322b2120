"""SQLAlchemy's own API, as an application would write it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Insert, Select, func, insert, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from benchmarks.data_access.products import PAGE, UPDATED, Product, batches, other_values


class Products:
    """The statements, without a repository."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def get(self, key: int) -> Product | None:
        """Return the row with the key."""
        return await self._session.get(Product, key)

    async def create(self, number: int) -> Product:
        """Insert a row, and have its key."""
        product = Product(**other_values(number))
        self._session.add(product)
        await self._session.flush()
        return product

    async def update(self, key: int) -> Product:
        """Change the row with the key."""
        product = await self._session.get_one(Product, key)
        product.stock = -1
        await self._session.flush()
        return product

    async def page(self, offset: int) -> tuple[Sequence[Product], int]:
        """Return a page, and the number of all rows."""
        rows = await self.rows(offset)
        total = await self._session.scalar(select(func.count()).select_from(Product))
        return rows, total or 0

    async def rows(self, offset: int) -> Sequence[Product]:
        """Return a page."""
        statement = select(Product).order_by(Product.id).limit(PAGE).offset(offset)
        return (await self._session.scalars(statement)).all()

    async def rows_by_time(self, offset: int) -> Sequence[Product]:
        """Return a page of the newest."""
        return (await self._session.scalars(_newest().offset(offset))).all()

    async def cursor_at(self, offset: int) -> Any:
        """Return where a page starts."""
        return (await self.rows(offset - 1))[0].id

    async def after(self, cursor: Any) -> Sequence[Product]:
        """Return the page after the cursor."""
        statement = select(Product).order_by(Product.id).limit(PAGE)
        if cursor is not None:
            statement = statement.where(Product.id > cursor)
        return (await self._session.scalars(statement)).all()

    async def cursor_at_by_time(self, offset: int) -> Any:
        """Return where a page of the newest starts."""
        row = (await self.rows_by_time(offset - 1))[0]
        return row.changed_at, row.id

    async def after_by_time(self, cursor: Any) -> Sequence[Product]:
        """Return the page of the newest after the cursor."""
        statement = _newest()
        if cursor is not None:
            statement = statement.where(tuple_(Product.changed_at, Product.id) < cursor)
        return (await self._session.scalars(statement)).all()

    async def create_many(self, rows: Iterable[dict[str, Any]]) -> None:
        """Insert rows, in batches."""
        for batch in batches(rows):
            await self._session.execute(insert(Product).values(batch))

    async def upsert_many(self, rows: Iterable[dict[str, Any]]) -> None:
        """Insert rows, or change those with the same code, in batches."""
        for batch in batches(rows):
            await self._session.execute(upsert(self._session, batch))


def _newest() -> Select[Any]:
    return select(Product).order_by(Product.changed_at.desc(), Product.id.desc()).limit(PAGE)


def upsert(session: AsyncSession, values: Sequence[dict[str, Any]] = ()) -> Insert:
    """Return the statement of the session's database."""
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    statement: Any = dialect.insert(Product)
    if values:
        statement = statement.values(values)
    changes = {name: statement.excluded[name] for name in UPDATED}
    changed: Insert = statement.on_conflict_do_update(index_elements=["code"], set_=changes)
    return changed
