"""``default_cache``, which ``REDIS_*`` configures, and what is made from it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from fastapi_asyncdb.extras.redis.cache import RedisCache
from fastapi_asyncdb.extras.redis.settings import RedisSettings

default_cache = RedisCache()

cache_lifespan: Callable[..., AbstractAsyncContextManager[None]] = default_cache.lifespan

Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]


async def get_cache() -> RedisCache:
    """Return ``default_cache``, as a dependency that tests may override."""
    return default_cache


Cache = Annotated[RedisCache, Depends(get_cache)]


def create_cache_lifespan(
    settings: RedisSettings | None = None,
    *,
    caches: Iterable[RedisCache] | None = None,
    lifespan: Lifespan | None = None,
) -> Lifespan:
    """Make a lifespan for ``FastAPI(lifespan=...)``, or for ``create_lifespan(lifespan=...)``.

    Args:
        settings: For the caches; ``None`` takes their own, which are ``REDIS_*`` for ``default_cache``.
        caches: Several instead of ``default_cache``.
        lifespan: Your own lifespan. It runs inside, and what it yields is the application's state.
    """
    started = [default_cache] if caches is None else list(caches)

    @asynccontextmanager
    async def run(app: Any) -> AsyncIterator[Any]:
        async with AsyncExitStack() as stack:
            for cache in started:
                await cache.start(settings)
                stack.push_async_callback(cache.stop)
            yield await stack.enter_async_context(lifespan(app)) if lifespan else None

    return run


def invalidate_on_commit(db: AsyncSession | Session, *keys: str, tags: Iterable[str] = ()) -> None:
    """Invalidate keys and tags of ``default_cache`` with the commit of a session, and only then.

    Args:
        db: A session of this library.
        *keys: Of values.
        tags: Of values.

    Raises:
        CacheNotStarted: the cache is not started.
        TypeError: the session is not from this library.
        SessionClosed: the session has ended.
    """
    default_cache.invalidate_on_commit(db, *keys, tags=tags)
