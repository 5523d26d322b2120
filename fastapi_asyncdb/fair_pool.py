"""The pool in which waiters take turns, and which refuses in time. Makes no connection itself."""

from __future__ import annotations

import logging
import math
import time
from typing import Any, NoReturn, cast

from sqlalchemy.pool import AsyncAdaptedQueuePool, ConnectionPoolEntry
from sqlalchemy.util import await_only
from sqlalchemy.util.queue import Empty

from fastapi_asyncdb.errors import PoolTimeout, TooManyWaiting
from fastapi_asyncdb.gate import Gate
from fastapi_asyncdb.tracebacks import forgetting_locals

logger = logging.getLogger(__name__)

_QUIET = 10.0
"""Seconds between two warnings: under overload refusals are many."""


class FairPool(AsyncAdaptedQueuePool):
    """SQLAlchemy's pool behind a gate as wide as its limit.

    In SQLAlchemy a newcomer may overtake a waiter that was woken, which then starts to wait anew, and
    nobody is woken when a connection beyond ``pool_size`` is closed or cannot be made. Behind the
    gate a connection is free, or may be made, for whoever is in.

    Args:
        creator: Connects, as for SQLAlchemy's own pool.
        max_waiting: Refuse at once when so many wait already; ``None`` is no limit.
        advice: The likely cause of a long wait, and the next step.
        **options: Of SQLAlchemy's own pool; ``timeout`` seconds bound the wait.
    """

    refusal: BaseException | None = None
    """Raised instead of handing out a connection; for the testing kit."""

    # create_engine passes on what it finds here, and it does not look at keyword-only arguments.
    def __init__(
        self, creator: Any, max_waiting: int | None = None, advice: str = "", **options: Any
    ) -> None:
        super().__init__(creator, **options)
        self._invoke_creator = forgetting_locals(self._invoke_creator)
        self._max_waiting = math.inf if max_waiting is None else max_waiting
        self._advice = advice
        self._limit = math.inf if self._max_overflow < 0 else self.size() + self._max_overflow
        self._gate = Gate(self._limit)
        self._refused = 0
        self._warned_at = -math.inf

    def waiting(self) -> int:
        """Return how many wait for a connection."""
        return self._gate.waiting

    def recreate(self) -> FairPool:
        """Return a new pool like this one; those who wait here are served here."""
        pool = cast(FairPool, super().recreate())
        pool._max_waiting = self._max_waiting
        pool._advice = self._advice
        return pool

    def _do_get(self) -> ConnectionPoolEntry:
        if self.refusal is not None:
            raise self.refusal
        if not self._gate.enter_at_once():
            self._wait_in_line()
        try:
            return self._take()
        except BaseException:
            self._gate.leave()
            raise

    def _take(self) -> ConnectionPoolEntry:
        try:
            # SQLAlchemy 2.0 starts a task for it when no further connection may be made.
            return self._pool.get(block=False)
        except Empty:
            return super()._do_get()

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        # All come by here: checked in, invalidated, detached, failed, garbage-collected.
        try:
            super()._do_return_conn(record)
        finally:
            self._gate.leave()

    def _wait_in_line(self) -> None:
        others = self._gate.waiting
        if others >= self._max_waiting:
            self._refuse(
                TooManyWaiting,
                f"No connection is free: {self._all_in_use()}, {others} wait already, and "
                "DATABASE_MAX_WAITING lets no more wait.",
            )
        started = time.monotonic()
        if not await_only(self._gate.enter(self._timeout)):
            self._refuse(
                PoolTimeout,
                f"No connection became free within {time.monotonic() - started:.1f} s: "
                f"{self._all_in_use()}, and {self._gate.waiting} more wait.",
            )

    def _all_in_use(self) -> str:
        if self._limit == 1:
            return "the only one is in use"
        return f"all {self._limit} are in use (pool_size + max_overflow)"

    def _refuse(self, kind: type[PoolTimeout], fact: str) -> NoReturn:
        message = f"{fact} {self._advice}".rstrip()
        self._refused += 1
        now = time.monotonic()
        if now - self._warned_at >= _QUIET:
            logger.warning("%s Refused since the last such warning: %d.", message, self._refused)
            self._warned_at, self._refused = now, 0
        raise kind(message)
