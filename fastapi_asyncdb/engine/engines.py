"""``Engines``: the two engines of one database, one that writes and one that reads, and its replicas."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from sqlalchemy import event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import ConnectionPoolEntry, Pool

from fastapi_asyncdb.dialects import Preset, Target
from fastapi_asyncdb.dialects.autocommit import SAVEPOINTS
from fastapi_asyncdb.dialects.calls import READS
from fastapi_asyncdb.dialects.deadlines import Deadlines
from fastapi_asyncdb.engine.late.engines import LateEngines
from fastapi_asyncdb.engine.running_sessions import RunningSessions
from fastapi_asyncdb.options import PLAIN, TransactionOptions
from fastapi_asyncdb.pool.checkout_warnings import CheckoutWatch
from fastapi_asyncdb.pool.closing import dispose
from fastapi_asyncdb.pool.status import PoolStatus, status_of

if TYPE_CHECKING:
    from fastapi_asyncdb.engine.replicas import Replicas


@dataclass(frozen=True, slots=True)
class Engines:
    """The two engines of one database, and what they were made from."""

    target: Target
    preset: Preset
    write: AsyncEngine
    read: AsyncEngine
    """Runs in autocommit and refuses writes. May share the writing engine's pool."""
    checkouts: CheckoutWatch | None
    """Warns of connections that are checked out for too long; ``None`` without ``hold_warning``."""
    ends_in_place: bool = False
    """Whether the caller's own task may end a transaction: the driver sets no timeout for it."""
    deadlines: Deadlines | None = None
    """Ends connections whose answers are overdue, if there is a ``statement_timeout``."""
    sessions: RunningSessions = field(default_factory=RunningSessions)
    """Those that were opened on the engines, and may still run."""
    replicas: Replicas | None = None
    """Those that serve reading sessions, if there are any."""
    late: LateEngines | None = None
    """Those that were handed around before the start; their listeners hear of these."""
    _bound: dict[TransactionOptions, AsyncEngine] = field(default_factory=dict)

    def serving(self, options: TransactionOptions, request: object) -> Engines:
        """Return the engines for a session with these options: these, or those of a replica.

        Args:
            options: Of its transactions.
            request: The ``HTTPConnection`` of its request, or ``None`` outside of requests.
        """
        if self.replicas is None or not options.on_replicas:
            return self
        replica = self.replicas.choose_for(request)
        return self if replica is None else replica.engines

    def bound(self, options: TransactionOptions) -> AsyncEngine:
        """Return the engine for sessions with these options, made once for each.

        Raises:
            ConfigurationError: the database does not have them.
        """
        if options is PLAIN or options == PLAIN:
            return self.write
        if options.autocommit:
            return self.read
        if options not in self._bound:
            self._bound[options] = self._bind(options)
        return self._bound[options]

    def _bind(self, options: TransactionOptions) -> AsyncEngine:
        self.preset.check(options)
        if options.statement_timeout and self.deadlines is not None:
            self.deadlines.watch(self.write)
        engine = self.preset.bind(options, self.write, self.read)
        if not options.read_only:
            return engine
        return reading_engine(engine)

    def pool_status(self) -> PoolStatus:
        """Return the numbers of the pool, or of all; see ``Database.pool_status()``."""
        status = status_of(self.write.pool, self.checkouts, self.read.pool)
        if self.replicas is None:
            return status
        return replace(status, replicas=tuple(each.status for each in self.replicas.all))

    def pools(self) -> set[Pool]:
        """Return the pools: one or two, and those of the replicas."""
        replicas = () if self.replicas is None else self.replicas.all
        return {self.write.pool, self.read.pool, *(replica.pool for replica in replicas)}

    async def dispose(self) -> None:
        """Close every connection: the idle ones now, those in use at checkin.

        Takes a few seconds at most, whatever the network does.
        """
        try:
            await close_engine(self.write, self.preset)
        finally:
            if self.preset.separate_readers:
                await close_engine(self.read, self.preset)
            if self.replicas is not None:
                await self.replicas.dispose()


async def close_engine(engine: AsyncEngine, preset: Preset) -> None:
    """Close the connections of one engine: the idle ones now, those in use at checkin."""
    event.listen(engine.sync_engine.pool, "checkin", _close)
    await dispose(engine, preset.discard)


def reading_engine(engine: AsyncEngine) -> AsyncEngine:
    """Return an engine like this one whose transactions refuse to write."""
    return engine.execution_options(**{READS: True, SAVEPOINTS: True})


def _close(connection: DBAPIConnection | None, record: ConnectionPoolEntry) -> None:
    record.invalidate()
