"""``Probe``: round trips for ``ping()`` and health routes, on a connection outside of the pool."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from fastapi_asyncdb import finishing
from fastapi_asyncdb.engine.connect_errors import failure_of
from fastapi_asyncdb.engine.create import create_probe_engine
from fastapi_asyncdb.engine.engines import Engines, close_engine
from fastapi_asyncdb.engine.startup import attempt
from fastapi_asyncdb.errors import DatabaseUnavailable
from fastapi_asyncdb.settings import DatabaseSettings

Check = Callable[[Connection], str | None]
"""Looks at the database; returns what is wrong, or ``None``."""

IDLE = 60.0
"""Seconds for which the connection is kept after a probe; orchestrators probe more often."""


class Probe:
    """Round trips on one connection of its own: a full pool neither fails nor delays them.

    The connection is kept between probes, so that a probe succeeds while the server accepts no more
    connections, as the pool does with those that it has. Calls at the same time share one probe.

    Args:
        engines: Where to connect to.
        settings: What the engines were made from.
    """

    def __init__(self, engines: Engines, settings: DatabaseSettings) -> None:
        self._engines = engines
        self._settings = settings
        self._engine: AsyncEngine | None = None
        self._under_way: dict[Check | None, asyncio.Task[str | float]] = {}
        self._idle: asyncio.TimerHandle | None = None
        self._closing: asyncio.Task[None] | None = None

    async def run(self, seconds: float | None, check: Check | None = None) -> float:
        """Send a statement and wait for the answer, or join a probe that is under way.

        Args:
            seconds: How long to wait; ``None`` is ``connect_timeout``.
            check: Called on the connection, after the statement.

        Returns:
            The seconds that it took.

        Raises:
            DatabaseUnavailable: there was no answer in time, or no connection, or the check failed.
        """
        limit = self._settings.connect_timeout if seconds is None else seconds
        probe = self._under_way.get(check)
        if probe is None:
            probe = self._under_way[check] = asyncio.create_task(self._probe(check))
            probe.add_done_callback(lambda _: self._under_way.pop(check, None))
        done, _ = await asyncio.wait([probe], timeout=limit)
        if not done or probe.cancelled():
            raise self._error(self._failure(TimeoutError(), limit))
        outcome = probe.result()
        if isinstance(outcome, str):
            raise self._error(outcome)
        return outcome

    async def dispose(self) -> None:
        """Close the connection; a probe that is under way is cancelled."""
        probes = list(self._under_way.values())
        for probe in probes:
            probe.cancel()
        if probes:
            await asyncio.wait(probes, timeout=finishing.GRACE.closing)
        self._close()
        if self._closing is not None:
            await self._closing

    async def _probe(self, check: Check | None) -> str | float:
        started = time.monotonic()
        missing: list[str] = []

        async def ask(connection: AsyncConnection) -> None:
            await connection.exec_driver_sql(self._engines.preset.probe)
            if check is not None and (reason := await connection.run_sync(check)):
                missing.append(reason)

        if self._engine is None:
            self._engine = create_probe_engine(self._engines, self._settings)
        try:
            failure = await attempt(self._engines, self._settings, self._engine, ask)
        finally:
            self._close_after_idling()
        if failure is not None:
            return str(failure)
        return missing[0] if missing else time.monotonic() - started

    def _close_after_idling(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(IDLE, self._close_if_idle)

    def _close_if_idle(self) -> None:
        if self._under_way:
            self._close_after_idling()
        else:
            self._close()

    def _close(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        engine, self._engine = self._engine, None
        if engine is not None:
            self._closing = asyncio.create_task(close_engine(engine, self._engines.preset))

    def _failure(self, error: Exception, seconds: float) -> str:
        return str(failure_of(error, self._engines.target, self._engines.preset, seconds))

    def _error(self, reason: str) -> DatabaseUnavailable:
        return DatabaseUnavailable(
            f"The database {self._engines.target.url!r} is not available: {reason}"
        )
