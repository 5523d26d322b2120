"""``Run``: the engines of one event loop, from the first start on it to the last stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from fastapi_asyncdb.engine.engines import Engines
from fastapi_asyncdb.engine.probe import Probe
from fastapi_asyncdb.engine.replica_watch import ReplicaWatch
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
    watch: ReplicaWatch | None = None
    is_stopping: bool = False
    """Whether the last stop waits for the sessions that are open."""
    replaced: list[Engines | None] = field(default_factory=list)
    """The run's own engines and those of each sandbox, innermost last; empty outside of sandboxes."""

    around: AbstractAsyncContextManager[object] | None = None
    """What is open from after the first start until before the last stop, and is a user itself."""

    def begin(
        self, engines: Engines, settings: DatabaseSettings, watch: ReplicaWatch | None
    ) -> None:
        """Count one more user of the engines, which may be new."""
        if self.engines is None:
            self.engines, self.probe, self.watch = engines, Probe(engines, settings), watch
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

    @contextmanager
    def replacing(self, engines: Engines) -> Iterator[None]:
        """Use these engines while the block runs; a stop does not close them."""
        self.replaced = [*(self.replaced or [self.engines]), engines]
        self.engines = engines
        try:
            yield
        finally:
            self.replaced.remove(engines)
            self.engines = self.replaced[-1]
            if self.replaced == [self.engines]:
                self.replaced.clear()

    async def enter(self, around: Callable[[], AbstractAsyncContextManager[object]]) -> None:
        """Open ``around()`` after the first start. If that fails, the start has failed."""
        if self.users > 1:
            return
        opened = around()
        try:
            await opened.__aenter__()
        except BaseException:
            await finish(self.end(None))
            raise
        self.around = opened

    async def stop(self, caller: asyncio.Task[Any] | None) -> None:
        """Count one user less; close what ``enter()`` has opened if that is the only one left."""
        await self.end(caller)
        if self.users == 1 and self.around is not None:
            opened, self.around = self.around, None
            await opened.__aexit__(None, None, None)

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
                engines, probe, watch = self.engines, self.probe, self.watch
                self.engines = self.probe = self.watch = None
                self.is_stopping = False
                await finish(_close(engines, probe, watch))


async def _close(engines: Engines, probe: Probe | None, watch: ReplicaWatch | None) -> None:
    try:
        if probe is not None:
            await probe.dispose()
        if watch is not None:
            await watch.stop()
    finally:
        await engines.dispose()
