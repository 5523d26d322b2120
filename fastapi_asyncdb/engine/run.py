"""``Run``: the engines of one event loop, from the first start on it to the last stop."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from fastapi_asyncdb.engine.create import Engines
from fastapi_asyncdb.engine.probe import Probe
from fastapi_asyncdb.finishing import caller_of, finish
from fastapi_asyncdb.settings import DatabaseSettings


@dataclass(slots=True)
class Run:
    """The engines of one event loop: a connection cannot move to another loop."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0
    settings: DatabaseSettings | None = None
    engines: Engines | None = None
    probe: Probe | None = None
    is_stopping: bool = False
    """Whether the last stop waits for the sessions that are open."""
    replaced: list[Engines | None] = field(default_factory=list)
    """The run's own engines and those of each sandbox, innermost last; empty outside of sandboxes."""

    def begin(self, engines: Engines, settings: DatabaseSettings) -> None:
        """Count one more user of the engines, which may be new."""
        if self.engines is None:
            self.engines, self.probe = engines, Probe(engines, settings)
        self.users += 1

    def engines_for_session(self) -> Engines | None:
        """Return the engines for a new session during the stop, or ``None``, which refuses it.

        A task that has an open session, or one of its hooks, may need another one to end its work.
        """
        task = asyncio.current_task()
        while task is not None and self.engines is not None:
            if self.engines.sessions.has(task):
                return self.engines
            task = caller_of(task)
        return None

    async def end(self, caller: asyncio.Task[Any] | None) -> None:
        """Count one user less; with the last, wait for the sessions and close the engines.

        Args:
            caller: The task that stops. Its sessions are not waited for: one may be around the stop.
        """
        async with self.lock:
            self.users = max(0, self.users - 1)
            if self.users or self.engines is None or self.settings is None or self.replaced:
                return
            self.is_stopping = True
            try:
                await self.engines.sessions.end(self.settings.shutdown_timeout, caller=caller)
            finally:
                engines, probe = self.engines, self.probe
                self.engines, self.probe, self.is_stopping = None, None, False
                await finish(_close(engines, probe))


async def _close(engines: Engines, probe: Probe | None) -> None:
    try:
        if probe is not None:
            await probe.dispose()
    finally:
        await engines.dispose()
