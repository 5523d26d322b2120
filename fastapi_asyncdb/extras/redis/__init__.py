"""Redis beside the session: a cache whose values are invalidated with the commit."""

from fastapi_asyncdb.extras.missing import missing_extra

try:
    import redis  # noqa: F401
except ImportError as error:
    raise missing_extra("redis", error) from error

from fastapi_asyncdb.extras.redis.cache import RedisCache
from fastapi_asyncdb.extras.redis.default import (
    Cache,
    cache_lifespan,
    create_cache_lifespan,
    default_cache,
    get_cache,
    invalidate_on_commit,
)
from fastapi_asyncdb.extras.redis.functions import cached
from fastapi_asyncdb.extras.redis.health import cache_health_router
from fastapi_asyncdb.extras.redis.keys import cache_key
from fastapi_asyncdb.extras.redis.routes import cached_route
from fastapi_asyncdb.extras.redis.settings import RedisSettings

__all__ = [
    "Cache",
    "RedisCache",
    "RedisSettings",
    "cache_health_router",
    "cache_key",
    "cache_lifespan",
    "cached",
    "cached_route",
    "create_cache_lifespan",
    "default_cache",
    "get_cache",
    "invalidate_on_commit",
]
