"""``ReplicaWatch``: looks at the replicas in the background, so that no request has to."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import cast

from pydantic import ByteSize
from sqlalchemy.pool import Pool

from fastapi_asyncdb.engine.client_writes import UNKNOWN
from fastapi_asyncdb.engine.connect_errors import Failure
from fastapi_asyncdb.engine.engines import Engines
from fastapi_asyncdb.engine.log_history import LogHistory
from fastapi_asyncdb.engine.log_reader import LogReader
from fastapi_asyncdb.engine.replicas import Replica, Replicas
from fastapi_asyncdb.engine.startup import attempt
from fastapi_asyncdb.finishing import finish
from fastapi_asyncdb.pool.fair_pool import FairPool
from fastapi_asyncdb.settings import DatabaseSettings
from fastapi_asyncdb.throttle import Throttle

logger = logging.getLogger(__name__)

_PAUSE = 0.5
"""Seconds between two looks at a server, at most."""
_SHORTEST_PAUSE = 0.05
_LONGEST_ANSWER = 1.0
"""Seconds that a response waits for the position of what its request has written."""


class ReplicaWatch:
    """Ask the primary and its replicas how far they are, again and again, outside of the pools.

    A replica that does not answer serves no session until it does; one that is too far behind serves
    none until it has caught up. Each of that is logged once.

    Args:
        engines: Of the primary.
        replicas: Its replicas.
        settings: What all of them were made from.
    """

    def __init__(self, engines: Engines, replicas: Replicas, settings: DatabaseSettings) -> None:
        self._engines = engines
        self._replicas = replicas
        self._settings = settings
        self._pause = _pause(settings.max_replica_lag)
        self._history = LogHistory()
        self._left_out: dict[Replica, float] = {}
        self._readers: list[LogReader] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._written: LogReader | None = None
        self._failures = Throttle()

    async def start(self) -> None:
        """Look at each server once; then go on in the background."""
        looks: list[Callable[[], Awaitable[None]]]
        looks = [partial(self._look_at_primary, self._reader(self._engines))]
        for replica in self._replicas.all:
            replica.pool.stand_in = partial(self._stand_in, replica)
            replica.pool.pool_with_more = partial(self._pool_with_more, replica)
            looks.append(partial(self._look_at, replica, self._reader(replica.engines)))
        try:
            # What a replica lacks is known only after the primary has answered.
            await looks[0]()
            await asyncio.gather(*(look() for look in looks[1:]))
        except BaseException:
            await finish(self.stop())
            raise
        self._tasks = [asyncio.create_task(self._repeat(look)) for look in looks]

    async def stop(self) -> None:
        """End the tasks, and close their connections."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for reader in self._readers:
            await reader.dispose()

    async def written(self) -> float:
        """Return a position behind all that is committed; ``UNKNOWN`` if the primary does not say."""
        if self._written is None:
            self._written = self._reader(self._engines, written=True)
        try:
            async with asyncio.timeout(_LONGEST_ANSWER):
                position = await self._written.read_shared()
        except TimeoutError:
            return UNKNOWN
        return position if isinstance(position, int) and position >= 0 else UNKNOWN

    def _reader(self, engines: Engines, *, written: bool = False) -> LogReader:
        positions = engines.preset.log_positions
        if positions is None:
            raise RuntimeError("Without positions in a log there are no replicas.")
        query = positions.written if written else positions.stored
        self._readers.append(LogReader(engines, self._settings, query))
        return self._readers[-1]

    async def _repeat(self, look: Callable[[], Awaitable[None]]) -> None:
        while True:
            # Not all processes at the same moment.
            await asyncio.sleep(self._pause * random.uniform(0.8, 1))  # noqa: S311 - no secret
            try:
                await look()
            except Exception:
                # Without its task a replica would stay as it is for ever.
                if self._failures.admit() is not None:
                    logger.exception(
                        "A look at the primary or a replica has failed; others follow."
                    )

    async def _look_at_primary(self, reader: LogReader) -> None:
        asked = time.monotonic()
        position = await reader.read()
        if isinstance(position, int):
            self._history.add(position, asked)

    async def _look_at(self, replica: Replica, reader: LogReader) -> None:
        position = await reader.read()
        if isinstance(position, int) and not replica.is_up:
            # Its own pool has to know the server before a session needs it.
            position = await self._connect(replica) or position
        if isinstance(position, int):
            replica.replayed = position
            replica.missing = self._history.missing(position)
            replica.lag = self._history.lag(position, time.monotonic())
            replica.is_up = True
            self._note(replica, self._delay(replica))
        else:
            replica.is_up = False
            self._note(replica, f"it does not answer: {position}")

    async def _connect(self, replica: Replica) -> Failure | None:
        replica.pool.forget_refusal()
        replica.pool.replace_all()
        return await attempt(replica.engines, self._settings, replica.engines.write)

    def _delay(self, replica: Replica) -> str | None:
        """Return why a replica is left out that answers; ``None`` if it is not."""
        if not self._replicas.is_behind(replica):
            return None
        allowed = self._settings.max_replica_lag
        limit = f"{allowed} bytes" if isinstance(allowed, ByteSize) else f"{allowed:g} s"
        behind = f"{replica.lag:.1f} s and {replica.missing} bytes behind"
        if replica.lag == math.inf:
            behind = f"{replica.missing} bytes behind, since before it was watched"
        return f"it is {behind}, and DATABASE_MAX_REPLICA_LAG allows {limit}."

    def _pool_with_more(self, replica: Replica) -> Pool | None:
        """Return the primary's for a session whose client has written since the session was opened."""
        lacks = replica.replayed < self._replicas.clients.needed()
        return self._engines.read.sync_engine.pool if lacks else None

    def _stand_in(self, replica: Replica, error: BaseException) -> Pool:
        """Return another pool for a session whose replica has just refused it a connection."""
        replica.is_up = False
        words = " ".join(str(error).split()).rstrip(".?! ")
        self._note(replica, f"it accepts no connection: {words}.")
        primary = cast(FairPool, self._engines.read.sync_engine.pool)
        other = None if primary.failure() is None else self._replicas.choose()
        return primary if other is None else other.pool

    def _note(self, replica: Replica, problem: str | None) -> None:
        """Choose it from now on or not, and log it when that changes."""
        replica.problem = problem
        self._replicas.refresh()
        if problem is None:
            since = self._left_out.pop(replica, None)
            if since is not None:
                seconds = time.monotonic() - since
                logger.warning("The replica %s is back, after %.1f s.", replica.host, seconds)
        elif replica not in self._left_out:
            self._left_out[replica] = time.monotonic()
            logger.warning(
                "The replica %s is left out: %s Its reads go to %s.",
                replica.host,
                problem,
                "the other replicas" if self._replicas.fit else "the primary",
            )


async def watch_replicas(engines: Engines, settings: DatabaseSettings) -> ReplicaWatch | None:
    """Look at the replicas of these engines once, and from then on; return ``None`` without any."""
    if engines.replicas is None:
        return None
    watch = ReplicaWatch(engines, engines.replicas, settings)
    await watch.start()
    return watch


def _pause(max_lag: float | ByteSize | None) -> float:
    """Return the seconds between two looks: short, if a replica may be behind for a short time only."""
    if max_lag is None or isinstance(max_lag, ByteSize):
        return _PAUSE
    return min(_PAUSE, max(_SHORTEST_PAUSE, max_lag / 4))
