"""The caches of an application's processes, and a table whose row they have."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from uuid import uuid4

import pytest
from redis.asyncio import Redis
from sqlalchemy import MetaData, String, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from fastapi_asyncdb import Database, DatabaseSettings
from fastapi_asyncdb.extras.redis import RedisCache, RedisSettings
from tests.support.databases import ONE_DRIVER


class Base(DeclarativeBase):
    """The tables of these tests."""


class Thing(Base):
    """A row whose values are cached."""

    __tablename__ = "things"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))


@pytest.fixture
def new_settings(redis_url: str) -> Callable[..., RedisSettings]:
    """Make settings with a prefix of the test's own, which has time enough on a busy machine."""
    prefix = f"test-{uuid4().hex[:12]}"

    def new(**values: object) -> RedisSettings:
        defaults = {"command_timeout": 5, "invalidation_timeout": 5, "connect_timeout": 5}
        return RedisSettings(**{"url": redis_url, "prefix": prefix} | defaults | values)

    return new


@pytest.fixture
async def cache(new_settings: Callable[..., RedisSettings]) -> AsyncIterator[RedisCache]:
    """A started cache."""
    async with RedisCache(new_settings()) as cache:
        yield cache
        await cache.clear()


@pytest.fixture
async def other_cache(new_settings: Callable[..., RedisSettings]) -> AsyncIterator[RedisCache]:
    """The cache of another process of the same application."""
    async with RedisCache(new_settings()) as cache:
        yield cache


@pytest.fixture
async def raw(redis_url: str) -> AsyncIterator[Redis]:
    """A client of the server, past the cache."""
    async with Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def tables() -> MetaData:
    """The tables of these tests."""
    return Base.metadata


@pytest.fixture
async def things(database_url: str, missing_tables: MetaData | None) -> AsyncIterator[Database]:
    """A database with one thing."""
    database = Database(DatabaseSettings(url=database_url))
    await database.start(create_tables=missing_tables)
    async with database.session() as session:
        session.add(Thing(id=1, name="old"))
    yield database
    await database.stop()


async def read_name(database: Database) -> str | None:
    """Read the name of the one thing, as a loader does."""
    async with database.read_session() as session:
        return await session.scalar(select(Thing.name).where(Thing.id == 1))


__all__ = ["ONE_DRIVER", "Base", "Thing", "read_name"]
