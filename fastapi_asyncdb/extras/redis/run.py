"""``Run``: what a cache has from a start to its stop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from fastapi_asyncdb.extras.redis.entries import Entry, Values
from fastapi_asyncdb.extras.redis.invalidation import Invalidations
from fastapi_asyncdb.extras.redis.link import Away, Link
from fastapi_asyncdb.extras.redis.loads import Load, Loads
from fastapi_asyncdb.extras.redis.names import Naming
from fastapi_asyncdb.extras.redis.settings import RedisSettings
from fastapi_asyncdb.extras.redis.store import Store


class Run:
    """What a cache has from a start to its stop, on one event loop.

    Args:
        settings: Of the cache.
    """

    def __init__(self, settings: RedisSettings) -> None:
        self.settings = settings
        self.loop = asyncio.get_running_loop()
        self.naming = Naming(settings.prefix, settings.max_key_length)
        self.link = Link(settings, self._finish_invalidations)
        self.store = Store(self.link, settings)
        self.loads = Loads(self.store, settings)
        self.invalidations = Invalidations(self.store, self.link, settings.prefix)

    async def _finish_invalidations(self) -> None:
        await self.invalidations.finish()

    async def find(self, key: str, tags: Iterable[str]) -> tuple[Entry | None, bool]:
        """Return the stored entry, if there is a valid one, and whether Redis has answered."""
        versions = sorted(map(self.naming.version, tags)) if tags else ()
        try:
            return await self.store.get(self.naming.value(key), versions), True
        except Away:
            return None, False

    def new_load(
        self,
        key: str,
        tags: Iterable[str],
        loader: Callable[[], Awaitable[object]],
        values: Values,
        ttl: float | None,
        negative_ttl: float | None,
    ) -> Load:
        """Describe what is to be loaded."""
        settings = self.settings
        return Load(
            self.naming.of([key], tags),
            loader,
            values,
            settings.ttl if ttl is None else ttl,
            settings.negative_ttl if negative_ttl is None else negative_ttl,
        )
