"""``cache_health_router``: a route that tells whether Redis answers."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response, status
from fastapi.responses import JSONResponse

from fastapi_asyncdb.errors import CacheNotStarted
from fastapi_asyncdb.extras.redis.cache import RedisCache
from fastapi_asyncdb.extras.redis.default import default_cache


def cache_health_router(
    cache: RedisCache = default_cache, *, path: str = "/health/cache", required: bool = False
) -> APIRouter:
    """Make a router with the route ``/health/cache``, beside those of ``health_router``.

    An application works without its cache, so one that is away makes it unready only with ``required``.

    Args:
        cache: The cache.
        path: Of the route.
        required: Answer 503 while Redis is away, instead of 200 with ``{"status": "unavailable"}``.

    Returns:
        The router, for ``app.include_router()``.
    """

    async def answer(request: Request) -> Response:
        try:
            ok = await cache.ping()
        except CacheNotStarted:
            ok = False
        return JSONResponse(
            {"status": "ok" if ok else "unavailable"},
            status.HTTP_200_OK if ok or not required else status.HTTP_503_SERVICE_UNAVAILABLE,
            headers={"Cache-Control": "no-store"},
        )

    router = APIRouter()
    router.add_route(path, answer, include_in_schema=False)
    return router
