"""The engines of a sandbox, which take the place of a ``Database``'s own while it is open."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.ext.asyncio import AsyncEngine

from fastapi_asyncdb.dialects.calls import READS
from fastapi_asyncdb.dialects.mysql.implicit_commits import ALLOWED
from fastapi_asyncdb.engine.engines import Engines, reading_engine
from fastapi_asyncdb.options import TransactionOptions
from fastapi_asyncdb.testing.sandbox.connection import SharedConnection
from fastapi_asyncdb.testing.sandbox.constraints import check_of
from fastapi_asyncdb.testing.sandbox.dialect import reading, writing
from fastapi_asyncdb.testing.sandbox.local_settings import server_timeouts
from fastapi_asyncdb.testing.sandbox.pool import SandboxPool


@dataclass(frozen=True, slots=True)
class SandboxEngines(Engines):
    """Engines whose transactions are savepoints: an isolation level cannot be set any more."""

    limited: Callable[[dict[str, str]], AsyncEngine] = field(kw_only=True)
    """Returns an engine whose transactions begin with these settings of the server."""
    shared: SharedConnection = field(kw_only=True)

    def bound(self, options: TransactionOptions) -> AsyncEngine:
        """Return the engine, and note that the running code opens a session: each asks here."""
        self.shared.slots.note_opened()
        return Engines.bound(self, options)

    def _bind(self, options: TransactionOptions) -> AsyncEngine:
        self.preset.check(options)
        local = server_timeouts(self.shared, options.timeouts)
        engine = self.limited(local) if local else self.write
        return reading_engine(engine) if options.read_only else engine

    async def dispose(self) -> None:
        """Do nothing: the connection belongs to the engines that it comes from."""


def make_engines(
    engines: Engines, shared: SharedConnection, timeout: float
) -> tuple[SandboxEngines, AsyncEngine]:
    """Make engines on the shared connection.

    Args:
        engines: Those of the ``Database``, whose places they take.
        shared: The connection.
        timeout: Seconds that a session waits for the connection.

    Returns:
        The engines for the application, and one for the test's own session, which does not wait.
    """
    like, late = engines.write.sync_engine, engines.late
    check = check_of(shared)

    def make(pool: SandboxPool, dialect: Dialect, **options: Any) -> AsyncEngine:
        echo, hide = bool(like.echo), like.hide_parameters
        # A sandbox refuses them itself, in its own words.
        options = {ALLOWED: True, **options}
        engine = Engine(
            pool, dialect, like.url, echo=echo, hide_parameters=hide, execution_options=options
        )
        if late is not None:
            late.join_statements(engine, like)
        return AsyncEngine(engine)

    drops = engines.preset.drops_transaction
    plain = writing(shared, check, drops, {})
    pool = SandboxPool(shared, plain, timeout)
    sandboxed = SandboxEngines(
        engines.target,
        engines.preset,
        make(pool, plain),
        make(pool, reading(shared), isolation_level="AUTOCOMMIT", **{READS: True}),
        engines.checkouts,
        engines.ends_in_place,
        late=late,
        limited=lambda local: make(pool, writing(shared, check, drops, local)),
        shared=shared,
    )
    if late is not None:
        late.join_reading(sandboxed.read)
    return sandboxed, make(SandboxPool(shared, plain, None), plain)
