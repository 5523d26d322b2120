"""``Loads``: one loader for a value among all that wait for it, here and in other processes."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from fastapi_asyncdb.extras.redis.entries import Entry, Values
from fastapi_asyncdb.extras.redis.link import Away
from fastapi_asyncdb.extras.redis.names import Names
from fastapi_asyncdb.extras.redis.settings import RedisSettings
from fastapi_asyncdb.extras.redis.store import HELD, Lease, Store
from fastapi_asyncdb.throttle import Throttle

logger = logging.getLogger(__name__)

_POLLS = 0.004, 0.05
"""Seconds between two looks for the value of another process: the first, and the longest."""


@dataclass(slots=True)
class Load:
    """A value that is to be loaded."""

    names: Names
    """Of the value and its tags."""
    loader: Callable[[], Awaitable[object]]
    values: Values
    ttl: float
    negative_ttl: float
    asks: bool = True
    """Whether to ask for a lease: without an answer a moment ago there is no more time for one."""
    value: Any = None
    """What the loader has returned, if it was this one's."""

    def accepts(self, entry: Entry) -> bool:
        """Return whether a stored entry is of the type."""
        return self.values.load(entry.payload) is not self.values.MISS

    async def run(self) -> bytes | None:
        """Run the loader, and return its value as JSON."""
        self.value = self.values.valid(await self.loader())
        return self.values.dump(self.value)


@dataclass(frozen=True, slots=True)
class _Failure:
    error: Exception
    trace: TracebackType | None


class _Flight:
    """A load that is under way in this process, and those that wait for it."""

    __slots__ = ("done", "is_current", "started")

    def __init__(self) -> None:
        self.done: asyncio.Future[Entry | _Failure | None]
        self.done = asyncio.get_running_loop().create_future()
        self.started = False
        """Whether the loader runs: from now on a waiter may know of a later commit than it."""
        self.is_current = False
        """Whether the result is the current value at its end, since no writer has come between."""


class Loads:
    """Run one loader at a time for each value.

    A result is shared with those that waited before the loader began, and with all others only if no
    writer has taken the lease away: else a client that knows of a commit could get what was before.

    Args:
        store: Leases and values.
        settings: Times and sizes.
    """

    def __init__(self, store: Store, settings: RedisSettings) -> None:
        self._store = store
        self._settings = settings
        self._flights: dict[Names, _Flight] = {}
        self._warnings = Throttle(seconds=60.0)

    async def load(self, load: Load) -> Entry:
        """Load a value, or wait for one that is loaded.

        Raises:
            Exception: that of the loader.
        """
        while (flight := self._flights.get(load.names)) is not None:
            in_time = not flight.started
            await asyncio.wait([flight.done])
            outcome = flight.done.result()
            if outcome is None or not (in_time or flight.is_current):
                continue
            if isinstance(outcome, _Failure):
                raise outcome.error.with_traceback(outcome.trace)
            if load.accepts(outcome):
                return outcome
        return await self._lead(load)

    async def refresh(self, load: Load, entry: Entry) -> Entry:
        """Load a value before it expires, unless that is done already; else return what there is."""
        if load.names in self._flights:
            return entry
        try:
            return await self._lead(load, current=entry)
        except Exception as error:
            if self._warnings.admit() is not None:
                logger.warning(
                    "A value could not be loaded again before it expires, and is used on: %s: %s",
                    type(error).__name__,
                    error,
                )
            return entry

    async def _lead(self, load: Load, current: Entry | None = None) -> Entry:
        flight = self._flights[load.names] = _Flight()
        outcome: Entry | _Failure | None = None
        try:
            outcome = entry = await self._run(load, flight, current)
        except Exception as error:
            outcome = _Failure(error, error.__traceback__)
            raise
        finally:
            del self._flights[load.names]
            # A value that was only kept may be older than those who wait.
            flight.done.set_result(None if outcome is current else outcome)
        return entry

    async def _run(self, load: Load, flight: _Flight, current: Entry | None) -> Entry:
        granted = await self._acquire(load, current)
        if isinstance(granted, Entry):
            flight.is_current = True
            return granted
        flight.started = True
        began = time.monotonic()
        entry: Entry | None = None
        try:
            payload = await load.run()
            loaded = entry = self._entry(load, payload, time.monotonic() - began)
        finally:
            if granted is not None:
                flight.is_current = await self._store_or_release(load, granted, entry)
        return loaded

    async def _store_or_release(self, load: Load, lease: Lease, entry: Entry | None) -> bool:
        stored = entry if entry is not None and self._may_store(load, entry) else None
        ttl = 0.0 if stored is None else stored.expires - time.time()
        with suppress(Away):
            return await self._store.store(load.names, lease, stored, ttl)
        return False

    async def _acquire(self, load: Load, current: Entry | None) -> Lease | Entry | None:
        """Return the lease, or the value; ``None`` if the value is to be loaded and not stored."""
        deadline = time.monotonic() + self._settings.wait_timeout
        pause, longest = _POLLS
        replace = current is not None
        try:
            while load.asks:
                found = await self._store.acquire(load.names, load.ttl, replace=replace)
                if isinstance(found, Lease):
                    return found
                if isinstance(found, Entry):
                    if load.accepts(found):
                        return found
                    replace = True  # of another type: the model has changed
                    continue
                if current is not None:
                    return current
                if found != HELD or time.monotonic() >= deadline:
                    return None
                replace = False
                await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311
                pause = min(pause * 1.5, longest)
        except Away:
            pass
        # Those that come at the same moment wait for this load instead of one of their own.
        await asyncio.sleep(0)
        return current

    def _entry(self, load: Load, payload: bytes | None, seconds: float) -> Entry:
        ttl = load.negative_ttl if payload is None else load.ttl
        ttl *= 1 - random.uniform(0, self._settings.ttl_jitter)  # noqa: S311
        return Entry(payload, time.time() + ttl, seconds)

    def _may_store(self, load: Load, entry: Entry) -> bool:
        if entry.payload is None:
            return load.negative_ttl > 0
        if len(entry.payload) > self._settings.max_value_size:
            return self._refuse("is larger than REDIS_MAX_VALUE_SIZE")
        return load.accepts(entry) or self._refuse("cannot be read back by its model")

    def _refuse(self, reason: str) -> bool:
        if self._warnings.admit() is not None:
            logger.warning("A value was not stored in the cache: it %s.", reason)
        return False
