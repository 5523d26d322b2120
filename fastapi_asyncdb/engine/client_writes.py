"""What the client of a request has written, so that its reads see it: read your writes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import PoolProxiedConnection

from fastapi_asyncdb.dialects.calls import steps_of

NOTHING = -1
"""The position of a client that has written nothing: any replica has that."""
UNKNOWN = math.inf
"""The position of writes that are somewhere in the log: only the primary is known to have them."""


@dataclass(slots=True)
class ClientWrites:
    """What one client has written to one database."""

    position: float = NOTHING
    """Behind what it has written by earlier requests, in the log of the primary."""
    has_written: bool = False
    """Whether this request has committed a transaction that may have written."""
    when_written: list[Callable[[], None]] = field(default_factory=list)
    """Called before the first of its commits: its sessions leave the replicas."""

    def note(self) -> None:
        """Note a commit, before it is sent."""
        if not self.has_written:
            self.has_written = True
            for leave in self.when_written:
                leave()


class Clients:
    """The client of the request that runs, for one ``Database``.

    Outside of requests, and without ``install_read_your_writes()``, there is none.
    """

    def __init__(self) -> None:
        self._current: ContextVar[ClientWrites | None] = ContextVar("client_writes", default=None)

    @contextmanager
    def serving(self, writes: ClientWrites) -> Iterator[None]:
        """Serve this client in the block, and in tasks that it starts."""
        token = self._current.set(writes)
        try:
            yield
        finally:
            self._current.reset(token)

    def needed(self) -> float:
        """Return the position that a replica must have replayed to serve the client."""
        writes = self._current.get()
        if writes is None:
            return NOTHING
        return UNKNOWN if writes.has_written else writes.position

    def call_when_written(self, leave: Callable[[], None]) -> None:
        """Call a function when the request commits, if it is one of a client that is known."""
        writes = self._current.get()
        if writes is not None:
            writes.when_written.append(leave)

    def watch(self, engine: AsyncEngine) -> None:
        """Note each COMMIT of a transaction that may have written, before it is sent."""
        dialect: Any = engine.sync_engine.dialect

        def before_commit(connection: PoolProxiedConnection) -> None:
            writes, raw = self._current.get(), connection.dbapi_connection
            if writes is not None and not (
                dialect.detect_autocommit_setting(raw) or dialect.get_readonly(raw)
            ):
                writes.note()

        def before_autocommit() -> None:
            writes = self._current.get()
            if writes is not None:
                writes.note()

        steps = steps_of(engine.sync_engine.dialect)
        steps.before_commit, steps.before_autocommit = before_commit, before_autocommit
