"""``RedisCache``: values beside the database, which are never older than the last commit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Self, TypeVar, overload

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from fastapi_asyncdb.errors import CacheNotStarted, ConfigurationError
from fastapi_asyncdb.extras.redis.entries import values_of
from fastapi_asyncdb.extras.redis.link import Away
from fastapi_asyncdb.extras.redis.run import Run
from fastapi_asyncdb.extras.redis.settings import RedisSettings

M = TypeVar("M")


class RedisCache:
    """Values in Redis, in front of a database.

    It builds nothing until it starts, and reads the environment only then: use its ``lifespan``, or
    ``async with``. While Redis is away everything goes on without it.

    Args:
        settings: By default ``REDIS_*``, read at the start.
    """

    def __init__(self, settings: RedisSettings | None = None) -> None:
        self._given = settings
        self._run: Run | None = None
        self._starts = 0

    def __repr__(self) -> str:
        state = (
            "not started" if self._run is None else "away" if self._run.link.is_away else "running"
        )
        return f"<{type(self).__name__} {state}>"

    # --- Start and stop ---------------------------------------------------------------------------

    async def start(self, settings: RedisSettings | None = None) -> None:
        """Start; a Redis that is away does not stop it. Each start needs a ``stop()``.

        Args:
            settings: Instead of those of the constructor.

        Raises:
            ConfigurationError: a setting is wrong, or it runs on another event loop.
        """
        if self._run is not None and self._run.loop is not asyncio.get_running_loop():
            raise ConfigurationError(
                "This cache runs on another event loop, and its connections cannot move. Stop it there "
                "first, or make a RedisCache for each event loop."
            )
        self._starts += 1
        if self._run is None:
            self._run = Run(settings or self._given or RedisSettings.load())
            await self._run.link.start()

    async def stop(self) -> None:
        """Stop, if this is the last of the starts: close all connections."""
        self._starts = max(0, self._starts - 1)
        if self._run is None or self._starts:
            return
        run, self._run = self._run, None
        await run.link.stop()
        run.invalidations.report()

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncIterator[None]:
        """Run as long as the application, as ``lifespan=`` of FastAPI or of ``create_lifespan``."""
        await self.start()
        try:
            yield
        finally:
            await self.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.stop()

    @property
    def is_away(self) -> bool:
        """Whether Redis is away, and everything goes on without it."""
        return self._running.link.is_away

    async def ping(self) -> bool:
        """Return whether Redis answers, within ``connect_timeout``."""
        link = self._running.link
        try:
            await link.attempt(
                self._running.settings.connect_timeout, link.client.execute_command, "PING"
            )
        except Away:
            return False
        return True

    @property
    def _running(self) -> Run:
        if self._run is None:
            raise CacheNotStarted(
                "The cache is not started. Give its lifespan to the application: "
                "FastAPI(lifespan=create_lifespan(lifespan=cache_lifespan)), or use it inside of "
                "'async with cache:'."
            )
        return self._run

    # --- Values -----------------------------------------------------------------------------------

    @overload
    async def get_or_load(
        self,
        key: str,
        loader: Callable[[], Awaitable[object]],
        *,
        model: type[M],
        ttl: float | None = None,
        negative_ttl: float | None = None,
        tags: Iterable[str] = (),
    ) -> M | None: ...

    @overload
    async def get_or_load(
        self,
        key: str,
        loader: Callable[[], Awaitable[object]],
        *,
        model: Any,
        ttl: float | None = None,
        negative_ttl: float | None = None,
        tags: Iterable[str] = (),
    ) -> Any: ...

    async def get_or_load(
        self,
        key: str,
        loader: Callable[[], Awaitable[object]],
        *,
        model: Any,
        ttl: float | None = None,
        negative_ttl: float | None = None,
        tags: Iterable[str] = (),
    ) -> Any:
        """Return the value of a key: the stored one, or what the loader returns, which is stored.

        One loader runs for all that wait, in all processes. It must read what is committed now: with
        ``ReadDB`` or a session of its own, not in a transaction that writes, nor in a snapshot that is
        older than the call.

        Args:
            key: The name of the value in this application.
            loader: Loads it: an object of the model, or what the model is validated from, such as a
                row or an ORM object. ``None`` says that there is no value.
            model: A pydantic model, or any type that pydantic knows. A stored value that does not fit
                is loaded again.
            ttl: Seconds that the value lives; by default that of the settings.
            negative_ttl: Seconds that it is remembered that there is no value; 0 does not.
            tags: Names by which several values are invalidated together.

        Returns:
            The value, validated by the model; ``None`` if there is none.

        Raises:
            CacheNotStarted: it is not started.
            pydantic.ValidationError: the loader returned what does not fit the model.
            Exception: that of the loader.
        """
        run, values = self._running, values_of(model)
        tags = sorted(set(tags)) if tags else ()
        if run.invalidations.open and run.invalidations.is_written(run.naming.of([key], tags)):
            return values.valid(await loader())  # the own write is not committed yet
        entry, asks = await run.find(key, tags)
        value = values.MISS if entry is None else values.load(entry.payload)
        if entry is None or value is values.MISS:
            entry = None
        elif not entry.is_early(run.settings.early_refresh):
            return value
        load = run.new_load(key, tags, loader, values, ttl, negative_ttl)
        load.asks = asks
        found = await (run.loads.load(load) if entry is None else run.loads.refresh(load, entry))
        value = values.load(found.payload)
        return load.value if value is values.MISS else value

    # --- Invalidation -----------------------------------------------------------------------------

    def invalidate_on_commit(
        self, db: AsyncSession | Session, *keys: str, tags: Iterable[str] = ()
    ) -> None:
        """Invalidate keys and tags with the commit of a session, and only then.

        Immediately before the COMMIT their values are removed, and no reader can store one until it has
        ended: nothing old is stored afterwards, also if the process dies in between. Until then this
        process reads them past the cache. A rollback, also of a savepoint, invalidates nothing.

        Args:
            db: A session of this library.
            *keys: Of values.
            tags: Of values.

        Raises:
            CacheNotStarted: it is not started.
            TypeError: the session is not from this library.
            SessionClosed: the session has ended.
        """
        run = self._running
        run.invalidations.add(db, run.naming.of(keys, tags))

    async def invalidate(self, *keys: str, tags: Iterable[str] = ()) -> None:
        """Invalidate keys and tags now: for what no session of this library writes.

        Args:
            *keys: Of values.
            tags: Of values.

        Raises:
            CacheNotStarted: it is not started.
        """
        run = self._running
        await run.invalidations.now(run.naming.of(keys, tags))

    async def clear(self) -> None:
        """Remove everything that has the prefix of this cache."""
        run = self._running
        try:
            await run.store.clear(run.settings.prefix)
        except Away:
            run.link.open()
