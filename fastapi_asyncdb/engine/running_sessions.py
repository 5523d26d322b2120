"""``RunningSessions``: the open sessions of one event loop, which a stop waits for, and then cancels."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from contextlib import suppress
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import finishing
from fastapi_asyncdb.concurrency import task_name
from fastapi_asyncdb.pool.checkout_warnings import request_name

logger = logging.getLogger(__name__)

_PAUSE = 0.02
"""Seconds between two checks. Sessions end in several ways, and a callback would cost each request."""
_SHOWN = 5


class RunningSession(Protocol):
    """What a stop needs to know about a session."""

    @property
    def owner(self) -> asyncio.Task[Any] | None:
        """The task that has opened the session, and ends it; ``None`` once that is done."""
        ...

    @property
    def request(self) -> Any:
        """The request's ``HTTPConnection``, or ``None`` outside of requests."""
        ...


# Weak: a session that was abandoned is garbage-collected, and returns its connection then.
class RunningSessions(WeakKeyDictionary[AsyncSession, RunningSession]):
    """The sessions that were opened on the engines of one event loop."""

    def has(self, task: asyncio.Task[Any] | None) -> bool:
        """Return whether the task has a session open."""
        return any(session.owner is task for session in self._running())

    async def end(self, seconds: float, *, caller: asyncio.Task[Any] | None) -> None:
        """Wait for the sessions to end; then cancel the tasks that still have one.

        Args:
            seconds: How long to wait before that. A cancellation of this call ends the wait.
            caller: A task that is not waited for: it may have a session around the stop.
        """
        if running := self._running(caller):
            logger.info(
                "The stop waits at most %g s for sessions to end: %s.", seconds, _names(running)
            )
            with suppress(asyncio.CancelledError):
                await self._wait(seconds, caller)
        if running := self._running(caller):
            self._cancel(running, seconds)
            await self._wait(finishing.GRACE.ending + finishing.GRACE.closing, caller)
        if running := self._running(caller):
            logger.warning(
                "Sessions have not ended although they were cancelled: %s. Their connections are closed "
                "when they are returned.",
                _names(running),
            )

    def _cancel(self, running: Collection[RunningSession], seconds: float) -> None:
        logger.warning(
            "Sessions that have not ended within %g s of the stop are cancelled and rolled back: %s. "
            "Most likely they wait for something other than the database, or their work is long. End "
            "such work at the shutdown, or raise DATABASE_SHUTDOWN_TIMEOUT.",
            seconds,
            _names(running),
        )
        for task in {session.owner for session in running}:
            if task is not None:
                task.cancel("the database stops")

    async def _wait(self, seconds: float, caller: asyncio.Task[Any] | None) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while self._running(caller) and loop.time() < deadline:  # noqa: ASYNC110 - see _PAUSE
            await asyncio.sleep(_PAUSE)

    def _running(self, caller: asyncio.Task[Any] | None = None) -> list[RunningSession]:
        return [
            session
            for session in self.values()
            if (task := session.owner) is not None and not task.done() and task is not caller
        ]


def _names(running: Collection[RunningSession]) -> str:
    names = [_name(session) for session in running]
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def _name(session: RunningSession) -> str:
    return task_name(session.owner) if session.request is None else request_name(session.request)
