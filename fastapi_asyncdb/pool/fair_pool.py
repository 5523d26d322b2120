"""The pool of connections: it serves waiters in their order, and refuses when their time is up."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from typing import Any, NoReturn, cast

from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import AsyncAdaptedQueuePool, ConnectionPoolEntry, PoolProxiedConnection
from sqlalchemy.pool.base import _ConnectionRecord
from sqlalchemy.util.queue import Empty

from fastapi_asyncdb.concurrency import await_only, greenlet_spawn
from fastapi_asyncdb.errors import CannotConnect, PoolTimeout, TooManyWaiting
from fastapi_asyncdb.pool.idle import IdleConnections, OverflowTimer
from fastapi_asyncdb.pool.server_limit import Explain, Full, Refusal, ServerLimit
from fastapi_asyncdb.pool.waiters import Slots
from fastapi_asyncdb.throttle import Throttle
from fastapi_asyncdb.tracebacks import forgetting_locals

logger = logging.getLogger(__name__)

_YOUNGEST = 0.9
"""The share of ``recycle`` after which the first connections are replaced; the last at its end."""
_EXPIRES = "fastapi_asyncdb.expires"
SERVER = "fastapi_asyncdb.server"
"""In the ``info`` of a connection: the name of its server, empty if there is only one."""


class FairPool(AsyncAdaptedQueuePool):
    """SQLAlchemy's pool, whose checkouts first take one of as many slots as it may have connections.

    In SQLAlchemy a newcomer may overtake a waiter that was woken, which then starts to wait anew, and
    no waiter is woken when a connection beyond ``pool_size`` is closed or cannot be made. Here, for a
    checkout with a slot a connection is free, or may be made. Overflow is closed after idling.

    Args:
        creator: Connects, as for SQLAlchemy's own pool.
        max_waiting: Refuse at once while so many wait; ``None`` is no limit.
        overflow_idle: Seconds for which connections beyond ``pool_size`` may be idle.
        advice: The likely cause of a long wait, and the next step.
        explain: Explains an error of the driver that could not connect.
        **options: Of SQLAlchemy's own pool; ``timeout`` seconds bound the wait.
    """

    # Or it would log by its own module's name, which "sqlalchemy.pool" does not govern:
    # https://docs.sqlalchemy.org/en/20/core/engines.html#configuring-logging
    _sqla_logger_namespace = "sqlalchemy.pool.impl.AsyncAdaptedQueuePool"
    _queue_class = IdleConnections

    refusal: BaseException | None = None
    """Raised instead of handing out a connection; for the testing kit."""

    # create_engine passes on the arguments that it finds here; it ignores keyword-only ones.
    def __init__(
        self,
        creator: Any,
        max_waiting: int | None = None,
        overflow_idle: float = 60.0,
        advice: str = "",
        explain: Explain | None = None,
        **options: Any,
    ) -> None:
        listeners = options.pop("_dispatch", None)
        super().__init__(creator, **options)
        if listeners is not None:
            # Of the pool that this one replaces. SQLAlchemy cannot copy those that two objects share.
            self.dispatch = listeners
        self._idle = cast(IdleConnections, self._pool)
        self._create = forgetting_locals(self._invoke_creator)
        self._invoke_creator = self._connect
        self._max_waiting = math.inf if max_waiting is None else max_waiting
        self._advice = advice
        self._explain = explain
        self._limit = math.inf if self.limit is None else self.limit
        self._slots = Slots(self._limit)
        limit, size = self._limit, self.size()
        self._server = ServerLimit(self._slots, limit, size, self._count, self._refusal_of)
        self._overflow_timer = OverflowTimer(
            overflow_idle, self._idle, lambda: self.overflow() > 0, self._close_idle
        )
        self.closing: set[asyncio.Task[None]] = set()
        """Tasks that close connections beyond ``pool_size``, which were idle for too long."""
        self._returns: float | None = None
        self._refusals = Throttle()

    def waiting(self) -> int:
        """Return how many tasks wait for a connection."""
        return self._slots.waiting

    def longest_wait(self) -> float:
        """Return for how many seconds the first of them has been waiting."""
        return self._slots.longest_wait

    @property
    def limit(self) -> int | None:
        """How many connections it may open: pool_size + max_overflow; ``None`` is no limit."""
        return None if self._max_overflow < 0 else self.size() + self._max_overflow

    def recreate(self) -> FairPool:
        """Return a new pool like this one, which goes on to serve its own waiters."""
        pool = cast(FairPool, super().recreate())
        pool._max_waiting = self._max_waiting
        pool._overflow_timer.seconds = self._overflow_timer.seconds
        pool._advice = self._advice
        pool._explain = self._explain
        pool._server.resume(self._server)
        return pool

    def connect(self) -> PoolProxiedConnection:
        """Check a connection out; if the server refuses to make one, wait for another.

        Raises:
            CannotConnect: the server is down, and the pool has no connection.
            PoolTimeout: there was none within the pool's ``timeout``.
        """
        started = time.monotonic()
        while True:
            try:
                return super().connect()
            except Full:
                # Read by _do_get, before any other task runs.
                self._returns = started

    def failure(self) -> BaseException | None:
        """Return why there is no connection, if the server is down and the pool has none left."""
        return self._server.failure()

    def accepts_none(self, error: BaseException) -> bool:
        """Return whether, by the error of a checkout, the server accepts no connection."""
        return isinstance(error, CannotConnect) or self._refusal_of(error) is not None

    def forget_refusal(self) -> None:
        """Let the next checkout connect at once, although the server has just refused a connection."""
        self._server.forget()

    def name_server(self, name: str) -> None:
        """Name the server in messages, where there are several: ``replica db2:5432``."""
        self._server.name = name

    def leave_outages(self) -> None:
        """Leave the warnings of an outage to another pool of the same database."""
        self._server.announces = False

    def take_idle(self) -> list[DBAPIConnection]:
        """Take the idle connections out of the pool for good; the caller closes them."""
        idle: list[DBAPIConnection] = []
        while self._idle.qsize():
            record = self._idle.take_oldest()
            idle.append(cast(DBAPIConnection, record.dbapi_connection))
            self.dispatch.close(idle[-1], record)
        return idle

    def dispose(self) -> None:
        """Close the idle connections, and stop the timers."""
        self._overflow_timer.stop()
        self._server.stop()
        super().dispose()

    def _connect(self, rec: ConnectionPoolEntry) -> DBAPIConnection:
        # Connections that were made at the same moment are not replaced at the same moment.
        lifetime = self._recycle * random.uniform(_YOUNGEST, 1)  # noqa: S311 - jitter, no secret
        rec.info[_EXPIRES] = time.monotonic() + lifetime if lifetime >= 0 else math.inf
        rec.info[SERVER] = self._server.name
        with self._server.attempt():
            return self._create(rec)

    def _refusal_of(self, error: BaseException) -> Refusal | None:
        dialect: Any = self._dialect
        known = isinstance(error, dialect.loaded_dbapi.Error)
        return self._explain(error) if known and self._explain is not None else None

    def _count(self) -> int:
        """Return how many connections there are, with those that are being made."""
        return self.size() + self._overflow

    def _do_get(self) -> ConnectionPoolEntry:
        since, self._returns = self._returns, None
        if self.refusal is not None:
            raise self.refusal
        if since is not None or not self._slots.take_at_once():
            self._wait(since)
        try:
            record = self._idle.get()
        except Empty:
            return self._make()
        if time.monotonic() > record.info.get(_EXPIRES, math.inf):
            record.invalidate(soft=True)
        return record

    def _create_connection(self) -> ConnectionPoolEntry:
        # The checkout connects, and closes what fails then or is cancelled. SQLAlchemy 2.0 would leave a
        # connection open that it makes here; the start closes its own.
        return _ConnectionRecord(self, connect=not self._server.has_accepted)

    def _make(self) -> ConnectionPoolEntry:
        try:
            return super()._do_get()
        except BaseException:
            self._slots.release()
            raise

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        # Called for every connection: checked in, invalidated, detached, failed, garbage-collected.
        try:
            if record.dbapi_connection is None:
                # In the queue it would be taken before the idle ones, and connect again.
                self._dec_overflow()
            else:
                super()._do_return_conn(record)
                if self.overflow() > 0:
                    self._overflow_timer.start()
        finally:
            self._slots.release()

    def _close_idle(self, record: ConnectionPoolEntry) -> None:
        self._dec_overflow()
        task = asyncio.create_task(greenlet_spawn(self._close_record, record))
        self.closing.add(task)
        task.add_done_callback(self.closing.discard)

    def _close_record(self, record: ConnectionPoolEntry) -> None:
        connection = cast(DBAPIConnection, record.dbapi_connection)
        try:
            self.dispatch.close(connection, record)
        finally:
            self._close_connection(connection, terminate=True)

    def _wait(self, since: float | None) -> None:
        """Wait for a slot.

        Args:
            since: When a checkout began that the server has refused a connection; ``None`` for others.
        """
        others = self._slots.waiting
        to = f" to the {self._server.name}" if self._server.name else ""
        if others >= self._max_waiting:
            self._refuse(
                TooManyWaiting,
                f"No connection{to} is free: {self._all_in_use()}, {others} wait already, and "
                "DATABASE_MAX_WAITING lets no more wait.",
            )
        started = time.monotonic() if since is None else since
        left = started + self._timeout - time.monotonic()
        if not await_only(self._slots.take(left, since=since)):
            self._refuse(
                PoolTimeout,
                f"No connection{to} became free within {time.monotonic() - started:.1f} s: "
                f"{self._all_in_use()}, and {self._slots.waiting} more wait.",
            )

    def _all_in_use(self) -> str:
        if self._server.refusal is not None:
            return self._server.describe()
        several = f"all {self._limit} are in use (pool_size + max_overflow)"
        return "the only one is in use" if self._limit == 1 else several

    def _refuse(self, kind: type[PoolTimeout], fact: str) -> NoReturn:
        if (failure := self._server.failure()) is not None:
            raise failure from None
        advice = self._advice if self._server.refusal is None else self._server.advice
        message = f"{fact} {advice}".rstrip()
        omitted = self._refusals.admit()
        if omitted is not None:
            logger.warning("%s Refused since the last such warning: %d.", message, omitted + 1)
        raise kind(message) from None
