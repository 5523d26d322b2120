"""``cached``: functions whose results are values of the cache."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterable
from functools import cache as once
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast, get_type_hints

from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.extras.redis.cache import RedisCache
from fastapi_asyncdb.extras.redis.default import default_cache
from fastapi_asyncdb.extras.redis.keys import ArgumentTemplates

P = ParamSpec("P")
R = TypeVar("R")


def cached(
    key: str,
    *,
    ttl: float | None = None,
    negative_ttl: float | None = None,
    tags: Iterable[str] = (),
    cache: RedisCache = default_cache,
) -> Callable[[Callable[P, Awaitable[R]]], Callable[P, Coroutine[Any, Any, R]]]:
    """Store the results of a coroutine function, as ``get_or_load`` does.

    ``@cached("user:{user_id}", tags=["users"])``. ``cache_key`` fills in the same template for an
    invalidation. What the function is annotated to return is the model of its values.

    Args:
        key: A template with names of arguments in braces; all that the result depends on.
        ttl: Seconds that a value lives; by default that of the settings.
        negative_ttl: Seconds that a result of ``None`` is remembered; 0 does not.
        tags: Templates of the tags.
        cache: The cache.

    Raises:
        ConfigurationError: a template names what is no parameter, or the function does not say what it
            returns.
    """

    def decorate(function: Callable[P, Awaitable[R]]) -> Callable[P, Coroutine[Any, Any, R]]:
        templates = ArgumentTemplates(function, (key, *tags))
        if "return" not in getattr(function, "__annotations__", {}):
            raise ConfigurationError(
                f"{getattr(function, '__qualname__', function)} does not say what it returns, and a "
                "cached value is validated by that when it is read: annotate it, '-> UserOut'."
            )

        @once
        def model() -> Any:  # at the first call: the annotation may name what is defined later
            return get_type_hints(function, include_extras=True)["return"]

        @wraps(function)
        async def from_cache(*args: P.args, **kwargs: P.kwargs) -> R:
            name, *named = templates.fill(args, kwargs)
            value: Any = await cache.get_or_load(
                name,
                lambda: function(*args, **kwargs),
                model=model(),
                ttl=ttl,
                negative_ttl=negative_ttl,
                tags=named,
            )
            return cast(R, value)

        return from_cache

    return decorate
