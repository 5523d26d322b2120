"""The lookup of one row by its id, or 404."""

from typing import TypeVar

from fastapi import HTTPException
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm.interfaces import ORMOption

from fastapi_asyncdb import Base

Model = TypeVar("Model", bound=Base)


async def get_or_404(db: AsyncSession, model: type[Model], key: int, *options: ORMOption) -> Model:
    """Return the row with this id, loaded with these options.

    Raises:
        HTTPException: 404, there is no such row.
    """
    row = await db.get(model, key, options=options)
    if row is None:
        raise HTTPException(404, f"There is no {model.__name__.lower()} {key}.")
    return row
