"""The optional cache of posts: without REDIS_URL, nothing of it is imported."""

import os
from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import create_lifespan, db_lifespan

F = TypeVar("F", bound=Callable[..., Any])

redis: Any = import_module("fastapi_asyncdb.extras.redis") if os.environ.get("REDIS_URL") else None

lifespan = create_lifespan(lifespan=redis.cache_lifespan) if redis else db_lifespan


def cached_post(handler: F) -> F:
    """Answer the route from the cache, if there is one."""
    cached: Callable[[F], F] | None = redis and redis.cached_route(ttl=60, tags=["post:{post_id}"])
    return cached(handler) if cached else handler


def post_changes(db: AsyncSession, post_id: int) -> None:
    """Invalidate what is cached of a post, with the commit."""
    if redis:
        redis.invalidate_on_commit(db, tags=[f"post:{post_id}"])
