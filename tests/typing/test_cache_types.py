"""What type checkers know of the cache; run by pytest only so that it imports."""

from typing import Any, assert_type

from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb.extras.redis import (
    Cache,
    RedisCache,
    cache_key,
    cached,
    cached_route,
    invalidate_on_commit,
)


class Item(BaseModel):
    """A value."""

    id: int


async def load() -> object:
    """Load it."""
    return None


@cached("item:{item_id}")
async def find(item_id: int) -> Item | None:
    """Find it."""
    return Item(id=item_id)


@cached_route()
async def read(item_id: int) -> Item:
    """Answer it."""
    return Item(id=item_id)


async def values(cache: Cache, db: AsyncSession) -> None:
    """A value is of its model, or there is none."""
    assert_type(cache, RedisCache)
    assert_type(await cache.get_or_load("k", load, model=Item), Item | None)
    assert_type(await cache.get_or_load("k", load, model=list[Item]), list[Item] | None)
    found: Any = await cache.get_or_load("k", load, model=Item | None)
    assert_type(await find(1), Item | None)
    assert_type(await read(1), Item)
    assert_type(cache_key("item:{item_id}", item_id=found), str)
    invalidate_on_commit(db, "k", tags=["t"])


def test_types() -> None:
    """The rest of this file is for type checkers."""
