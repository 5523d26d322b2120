"""The pool of connections: it serves waiters in their order, and refuses when their time is up."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from typing import Any, NoReturn, cast

from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import AsyncAdaptedQueuePool, ConnectionPoolEntry, PoolProxiedConnection
from sqlalchemy.util.queue import Empty

from fastapi_asyncdb.concurrency import await_only
from fastapi_asyncdb.errors import PoolTimeout, TooManyWaiting
from fastapi_asyncdb.pool.server_limit import ServerLimit
from fastapi_asyncdb.pool.waiters import Slots
from fastapi_asyncdb.tracebacks import forgetting_locals

logger = logging.getLogger(__name__)

_QUIET = 10.0
"""Seconds between two warnings: under overload refusals are many."""


class _Refused(Exception):
    """The server refused a connection; the next attempt waits for another one."""


class FairPool(AsyncAdaptedQueuePool):
    """SQLAlchemy's pool, whose checkouts first take one of as many slots as it may have connections.

    In SQLAlchemy a newcomer may overtake a waiter that was woken, which then starts to wait anew, and
    no waiter is woken when a connection beyond ``pool_size`` is closed or cannot be made. Here, for a
    checkout with a slot a connection is free, or may be made.

    Args:
        creator: Connects, as for SQLAlchemy's own pool.
        max_waiting: Refuse at once while so many wait; ``None`` is no limit.
        advice: The likely cause of a long wait, and the next step.
        is_full: Returns whether, by an error of the driver, the server accepts no more connections.
        **options: Of SQLAlchemy's own pool; ``timeout`` seconds bound the wait.
    """

    # Or it would log by its own module's name, which "sqlalchemy.pool" does not govern:
    # https://docs.sqlalchemy.org/en/20/core/engines.html#configuring-logging
    _sqla_logger_namespace = "sqlalchemy.pool.impl.AsyncAdaptedQueuePool"

    refusal: BaseException | None = None
    """Raised instead of handing out a connection; for the testing kit."""

    # create_engine passes on the arguments that it finds here; it ignores keyword-only ones.
    def __init__(
        self,
        creator: Any,
        max_waiting: int | None = None,
        advice: str = "",
        is_full: Callable[[BaseException], bool] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(creator, **options)
        self._invoke_creator = forgetting_locals(self._invoke_creator)
        self._max_waiting = math.inf if max_waiting is None else max_waiting
        self._advice = advice
        self._limit = math.inf if self._max_overflow < 0 else self.size() + self._max_overflow
        self._slots = Slots(self._limit)
        self._is_full = is_full
        self._server = ServerLimit(self._slots, self._limit, self.size(), self._open)
        self._connecting = 0
        self._returns: float | None = None
        self._refused = 0
        self._warned_at = -math.inf

    def waiting(self) -> int:
        """Return how many tasks wait for a connection."""
        return self._slots.waiting

    def recreate(self) -> FairPool:
        """Return a new pool like this one, which goes on to serve its own waiters."""
        pool = cast(FairPool, super().recreate())
        pool._max_waiting = self._max_waiting
        pool._advice = self._advice
        pool._is_full = self._is_full
        pool._server.has_accepted = self._server.has_accepted
        return pool

    def connect(self) -> PoolProxiedConnection:
        """Check a connection out; if the server refuses to make one, wait for another.

        Raises:
            PoolTimeout: there was none within the pool's ``timeout``.
        """
        started = time.monotonic()
        while True:
            try:
                return super().connect()
            except _Refused:
                pass
            except Exception as error:
                # One that was to be replaced: SQLAlchemy does that itself.
                if not self._is_refused(error):
                    raise
                self._server.refuse(error)
            # Read by _do_get, before any other task runs.
            self._returns = started

    def take_idle(self) -> list[DBAPIConnection]:
        """Take the idle connections out of the pool for good; the caller closes them."""
        idle: list[DBAPIConnection] = []
        while True:
            try:
                record = self._pool.get(block=False)
            except Empty:
                return idle
            connection = record.dbapi_connection
            if connection is not None:
                self.dispatch.close(connection, record)
                idle.append(connection)

    def _is_refused(self, error: BaseException) -> bool:
        # Before the first connection was made, startup tries again, and has other limits.
        if self._is_full is None or not self._server.has_accepted:
            return False
        dialect: Any = self._dialect
        return isinstance(error, dialect.loaded_dbapi.Error) and self._is_full(error)

    def _open(self) -> int:
        """Return how many connections are open, in use or idle."""
        return self.size() + self.overflow() - self._connecting

    def _do_get(self) -> ConnectionPoolEntry:
        since, self._returns = self._returns, None
        if self.refusal is not None:
            raise self.refusal
        if since is not None or not self._slots.take_at_once():
            self._wait(since)
        try:
            return self._take()
        except BaseException:
            self._slots.release()
            raise

    def _take(self) -> ConnectionPoolEntry:
        try:
            # SQLAlchemy 2.0 starts a task for it when no further connection may be made.
            return self._pool.get(block=False)
        except Empty:
            return self._make()

    def _make(self) -> ConnectionPoolEntry:
        self._connecting += 1
        try:
            record = super()._do_get()
        except BaseException as error:
            self._connecting -= 1
            if not self._is_refused(error):
                raise
            # Before the slot is released: the next waiter would only be refused as well.
            self._server.refuse(error)
            raise _Refused from None
        self._connecting -= 1
        self._server.accept()
        return record

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        # Called for every connection: checked in, invalidated, detached, failed, garbage-collected.
        try:
            if record.dbapi_connection is None and self._server.refusal is not None:
                # Without a connection it would be taken before the idle ones, and connect again.
                self._dec_overflow()
            else:
                super()._do_return_conn(record)
        finally:
            self._slots.release()

    def _wait(self, since: float | None) -> None:
        """Wait for a slot.

        Args:
            since: When a checkout began that the server has refused a connection; ``None`` for others.
        """
        others = self._slots.waiting
        if others >= self._max_waiting:
            self._refuse(
                TooManyWaiting,
                f"No connection is free: {self._all_in_use()}, {others} wait already, and "
                "DATABASE_MAX_WAITING lets no more wait.",
            )
        now = time.monotonic()
        started, rank = (now, math.inf) if since is None else (since, since)
        if not await_only(self._slots.take(self._timeout - (now - started), since=rank)):
            self._refuse(
                PoolTimeout,
                f"No connection became free within {time.monotonic() - started:.1f} s: "
                f"{self._all_in_use()}, and {self._slots.waiting} more wait.",
            )

    def _all_in_use(self) -> str:
        if self._server.refusal is not None:
            return self._server.describe()
        if self._limit == 1:
            return "the only one is in use"
        return f"all {self._limit} are in use (pool_size + max_overflow)"

    def _refuse(self, kind: type[PoolTimeout], fact: str) -> NoReturn:
        advice = self._advice if self._server.refusal is None else self._server.advice
        message = f"{fact} {advice}".rstrip()
        self._refused += 1
        now = time.monotonic()
        if now - self._warned_at >= _QUIET:
            logger.warning("%s Refused since the last such warning: %d.", message, self._refused)
            self._warned_at, self._refused = now, 0
        raise kind(message) from None
