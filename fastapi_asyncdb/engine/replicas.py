"""``Replicas``: which replica serves a reading session. A decision: it waits for nothing."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

from pydantic import ByteSize

from fastapi_asyncdb.engine.client_writes import Clients
from fastapi_asyncdb.engine.engines import Engines
from fastapi_asyncdb.pool.replica_pool import ReplicaPool
from fastapi_asyncdb.pool.status import ReplicaStatus, status_of

_CHOSEN = "fastapi_asyncdb.replicas"
"""The key of a request's scope for the replica of each database that serves it."""


@dataclass(slots=True, eq=False)
class Replica:
    """A read replica, and how it was when it was last looked at."""

    engines: Engines
    is_up: bool = False
    replayed: int = -1
    """The position in the log of the primary up to which it has all data."""
    lag: float = 0.0
    """Seconds for which it has lacked something that the primary has; 0 if it lacks nothing, infinity if
    it was already behind when the ``Database`` started, or another server became the primary."""
    missing: int = 0
    """Bytes of the log that it lacks."""
    problem: str | None = "it was not looked at yet."
    """Why it serves no session; ``None`` if it does."""

    @property
    def host(self) -> str:
        """Its address, for messages: ``db2:5432``."""
        return self.engines.target.address

    @property
    def status(self) -> ReplicaStatus:
        """What ``Database.pool_status()`` tells of it."""
        lag = None if math.isinf(self.lag) else self.lag  # JSON has no infinity
        return ReplicaStatus(self.host, self.problem, lag, self.missing, status_of(self.pool))

    @property
    def pool(self) -> ReplicaPool:
        """The pool of its sessions."""
        return cast(ReplicaPool, self.engines.write.sync_engine.pool)

    def load(self) -> int:
        """Return how many sessions have a connection to it, or wait for one."""
        return self.pool.checkedout() + self.pool.waiting()


class Replicas:
    """The read replicas of a database.

    Args:
        replicas: All of them; none is chosen until it was seen to be up.
        max_lag: Seconds, or bytes, that one may be behind; ``None`` is no limit.
        clients: What the clients of requests have written, which they must see.
    """

    def __init__(
        self, replicas: Iterable[Replica], max_lag: float | ByteSize | None, clients: Clients
    ) -> None:
        self.all: tuple[Replica, ...] = tuple(replicas)
        self.clients: Clients = clients
        self._max_lag = max_lag
        self.fit: list[Replica] = []
        """Those that are up, and not too far behind."""

    def refresh(self) -> None:
        """Decide anew which ones are fit, after one of them was looked at."""
        self.fit = [each for each in self.all if each.is_up and not self.is_behind(each)]

    def is_behind(self, replica: Replica) -> bool:
        """Return whether it is further behind than it may be."""
        if self._max_lag is None:
            return False
        behind = replica.missing if isinstance(self._max_lag, ByteSize) else replica.lag
        return behind > self._max_lag

    def choose_for(self, request: Any) -> Replica | None:
        """Return the same replica for all sessions of a request: two may be at different moments.

        Another one only if that serves no longer, or lacks what the client has written since.

        Args:
            request: The ``HTTPConnection``, or ``None`` outside of requests.
        """
        if request is None:
            return self.choose()
        chosen: dict[Replicas, Replica | None] = request.scope.setdefault(_CHOSEN, {})
        replica = chosen.get(self)
        serves = replica is not None and replica in self.fit
        if replica is None or not serves or replica.replayed < self.clients.needed():
            replica = chosen[self] = self.choose()
        return replica

    def choose(self) -> Replica | None:
        """Return the less busy of two random ones that have all that the client has written.

        Two random choices spread the load about as well as a look at all of them, and not all processes
        run to the same one. https://www.eecs.harvard.edu/~michaelm/postscripts/handbook2001.pdf

        Returns:
            ``None`` if the primary has to serve.
        """
        fit, needed = self.fit, self.clients.needed()
        if needed >= 0:
            fit = [each for each in fit if each.replayed >= needed]
        if len(fit) < 2:
            return fit[0] if fit else None
        first = math.floor(random.random() * len(fit))  # noqa: S311 - load, no secret
        second = first - 1 - math.floor(random.random() * (len(fit) - 1))  # noqa: S311
        one, other = fit[first], fit[second]
        return one if one.load() <= other.load() else other

    async def dispose(self) -> None:
        """Close the connections to all of them."""
        for replica in self.all:
            await replica.engines.dispose()
