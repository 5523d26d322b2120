"""A sandbox: the real database, in a transaction that is rolled back when the test is over."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from sqlalchemy import Engine, text
from sqlalchemy.engine.interfaces import DBAPIConnection, Dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

from fastapi_asyncdb.database import BaseDatabase
from fastapi_asyncdb.dialects.calls import READS
from fastapi_asyncdb.dialects.postgresql.preset import milliseconds
from fastapi_asyncdb.engine.create import Engines, that_only_reads
from fastapi_asyncdb.errors import SandboxError
from fastapi_asyncdb.finishing import finish
from fastapi_asyncdb.options import TransactionOptions
from fastapi_asyncdb.pool.fair_pool import FairPool
from fastapi_asyncdb.testing.sandbox.connection import OneConnection
from fastapi_asyncdb.testing.sandbox.constraints import check_of
from fastapi_asyncdb.testing.sandbox.dialect import reading, writing
from fastapi_asyncdb.testing.sandbox.pool import SandboxPool

_ENDED = (
    "The transaction was over before the sandbox was, and what was written may be stored: most likely "
    "COMMIT was sent on the driver's own connection, which nobody watches. Use the session's commit(), "
    "or test this with isolated_database."
)


@asynccontextmanager
async def sandbox(
    database: BaseDatabase, *, turn_timeout: float = 10.0
) -> AsyncIterator[AsyncSession]:
    """Let all sessions of a handle take part in one transaction, and roll it back at the end.

    That goes for requests, jobs, hooks, ``run_in_transaction`` and what uses the engines directly:
    commits become savepoints, rollbacks undo their own work, ``on_commit`` hooks run at the
    application's commit, deferred constraints are checked there. Nothing is ever stored, except that
    PostgreSQL's sequences go on.

    The sessions share one connection. So they take turns, each from its first statement to the end of
    its transaction; one that is opened inside of another's transaction shares its turn. Isolation
    levels have no effect. What needs more is for ``isolated_database``.

    Args:
        database: The handle; it is started if it is not.
        turn_timeout: Seconds that a session waits for its turn before it gets a ``PoolTimeout``.

    Yields:
        A session for the test itself: it waits for nobody, sees what the application has flushed, and
        what it commits is seen by the application.

    Raises:
        DatabaseUnavailable: the handle was not started, and cannot be.
        SandboxError: at the end, if the block has succeeded: a query still ran, and was cut off; the
            connection was lost; or the transaction was over already.
    """
    async with database, database.engine.connect() as root:
        await _begin(root)
        raw = (await root.get_raw_connection()).dbapi_connection
        one = OneConnection(cast(DBAPIConnection, raw), root.sync_engine.dialect)
        around = database._engines()
        engines, own = _engines(around, one, turn_timeout)
        session = database._make_on(own)
        try:
            with _refused(database), database._replaced(engines):
                yield session
        finally:
            inner = database._engines()
            if inner is not around and isinstance(inner, _SandboxEngines):
                inner.one.lose("the sandbox around it has ended before it")
            trouble = await finish(_end(root, one, session))
        if trouble is not None:
            raise SandboxError(trouble)


@contextmanager
def _refused(database: BaseDatabase) -> Iterator[None]:
    """Refuse connections to whoever has taken an engine before: it would commit for good.

    Those of other event loops are refused, too.
    """
    pools = [
        pool
        for run in database._runs.values()
        if run.engines is not None
        for engine in (run.engines.write, run.engines.read)
        if isinstance(pool := engine.sync_engine.pool, FairPool)
    ]
    before = [pool.refusal for pool in pools]
    for pool in pools:
        pool.refusal = SandboxError(
            "An engine or a session from before this sandbox, or of another event loop, was used while "
            "it is open, and would commit for good. Take database.engine when it is needed, open "
            "sessions inside, and run application and test on one loop."
        )
    try:
        yield
    finally:
        for pool, refusal in zip(pools, before, strict=True):
            pool.refusal = refusal


async def _end(root: AsyncConnection, one: OneConnection, session: AsyncSession) -> str | None:
    """Roll back, and return what has gone wrong that nobody was told of."""
    lost = one.lost
    ended = one.lose_ended("it has ended")
    cut_off = await one.end()
    if lost or cut_off or one.worn:
        await root.invalidate()
    await session.close()
    try:
        await root.rollback()
    except DBAPIError as error:
        await root.invalidate()
        return (
            f"The sandbox's connection was lost ({error.orig}), most likely because the server ended "
            "it. Nothing is stored. Test lost connections with isolated_database."
        )
    if cut_off:
        return (
            f"A query still ran when the sandbox ended: {cut_off}. It was cut off, and nothing is "
            "stored. Await background work before the test ends."
        )
    return _ENDED if ended else None


async def _begin(root: AsyncConnection) -> None:
    await root.begin()
    if root.dialect.name == "postgresql":
        # Somebody may look at the test in a debugger.
        await root.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))


def _engines(
    engines: Engines, one: OneConnection, turn_timeout: float
) -> tuple[Engines, AsyncEngine]:
    """Make the engines of the application, and one for the test, which takes no turns."""
    like = engines.write.sync_engine
    check = check_of(one)

    def make(pool: SandboxPool, dialect: Dialect, **options: Any) -> AsyncEngine:
        echo, hide = bool(like.echo), like.hide_parameters
        engine = Engine(
            pool, dialect, like.url, echo=echo, hide_parameters=hide, execution_options=options
        )
        return AsyncEngine(engine)

    drops = engines.preset.drops_transaction
    plain = writing(one, check, drops, {})
    pool = SandboxPool(one, plain, turn_timeout)
    read = make(pool, reading(one), isolation_level="AUTOCOMMIT", **{READS: True})
    sandboxed = _SandboxEngines(
        engines.target,
        engines.preset,
        make(pool, plain),
        read,
        engines.checkouts,
        engines.ends_in_place,
        limited=lambda local: make(pool, writing(one, check, drops, local)),
        one=one,
    )
    return sandboxed, make(SandboxPool(one, plain, None), plain)


@dataclass(frozen=True, slots=True)
class _SandboxEngines(Engines):
    """Engines whose options find the transaction begun."""

    limited: Callable[[dict[str, int]], AsyncEngine] = field(kw_only=True)
    one: OneConnection = field(kw_only=True)

    def bound(self, options: TransactionOptions) -> AsyncEngine:
        """Return the engine, as each session asks when it is opened: that is where its turn belongs."""
        self.one.turns.open()
        return Engines.bound(self, options)

    def _bind(self, options: TransactionOptions) -> AsyncEngine:
        self.preset.check(options)
        local = {name: milliseconds(seconds) for name, seconds in options.timeouts.items()}
        engine = self.limited(local) if local else self.write
        return that_only_reads(engine) if options.read_only else engine

    async def dispose(self) -> None:
        """Do nothing: the connection belongs to the engines that it comes from."""
