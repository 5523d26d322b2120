"""The functions by which the testing kit replaces engines, checks starts and looks at a ``Database``.

The testing kit and the health routes use these and the methods of ``Runs``, and no private name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.pool import Pool

from fastapi_asyncdb.engine import runs
from fastapi_asyncdb.engine.runs import Runs
from fastapi_asyncdb.pool.fair_pool import FairPool
from fastapi_asyncdb.settings import DatabaseSettings

T = TypeVar("T")
S_co = TypeVar("S_co", bound=AsyncSession, covariant=True)

commit_hook_filters: list[Callable[[Any], bool]] = []
"""Called with each ``on_commit`` hook that is due; it runs if all of them return true."""


class _Sessions(Protocol[S_co]):
    def open_on(self, engine: AsyncEngine) -> S_co: ...


class _Database(Protocol[S_co]):
    _runs: Runs

    @property
    def _sessions(self) -> _Sessions[S_co]: ...


def runs_of(database: _Database[AsyncSession]) -> Runs:
    """Return the ``Runs`` of a ``Database``: its engines, starts and settings."""
    return database._runs


def session_on(database: _Database[S_co], engine: AsyncEngine) -> S_co:
    """Open a session of a ``Database`` on this engine; the caller ends its transactions."""
    return database._sessions.open_on(engine)


def has_pool(database: _Database[AsyncSession], pool: Pool) -> bool:
    """Return whether a pool belongs to the engines of a ``Database``, on any event loop."""
    return any(pool in engines.pools() for engines in runs_of(database).started())


@contextmanager
def refusing_connections(database: _Database[AsyncSession], refusal: Exception) -> Iterator[None]:
    """Raise ``refusal`` at each checkout from the pools that are in use when the block begins."""
    pools = [
        pool
        for engines in runs_of(database).started()
        for pool in engines.pools()
        if isinstance(pool, FairPool)
    ]
    before = [pool.refusal for pool in pools]
    for pool in pools:
        pool.refusal = refusal
    try:
        yield
    finally:
        for pool, earlier in zip(pools, before, strict=True):
            pool.refusal = earlier


@contextmanager
def checking_starts(check: Callable[[Runs, DatabaseSettings | None], None]) -> Iterator[None]:
    """Call ``check`` before each start of any ``Database`` in the block; it may raise.

    Args:
        check: Gets the ``Runs`` of the ``Database``, and the settings that the start asks for.
    """
    with _added(runs.start_checks, check):
        yield


@contextmanager
def filtering_commit_hooks(wanted: Callable[[Any], bool]) -> Iterator[None]:
    """Call ``wanted`` with each ``on_commit`` hook that is due in the block, in any task or thread.

    Args:
        wanted: Returns whether the hook may run. Every filter sees every hook.
    """
    with _added(commit_hook_filters, wanted):
        yield


@contextmanager
def _added(entries: list[T], entry: T) -> Iterator[None]:
    entries.append(entry)
    try:
        yield
    finally:
        entries.remove(entry)
