"""A ``Database`` on the event loop of a ``TestClient``, for tests that are plain functions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from functools import partial
from typing import Generic, TypeVar, TypeVarTuple

from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb.database import Database
from fastapi_asyncdb.engine.seam import runs_of
from fastapi_asyncdb.errors import SandboxError
from fastapi_asyncdb.testing.sandbox import sandbox

S = TypeVar("S", bound=AsyncSession)
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class SyncDatabase(Generic[S]):
    """A ``Database`` on the application's event loop, as a test in another thread uses it.

    Args:
        database: Started and stopped by the application's lifespan.
    """

    def __init__(self, database: Database[S]) -> None:
        self._database = database
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self, work: Callable[[S, *Ts], Awaitable[T]], *args: *Ts) -> T:
        """Run ``await work(session, *args)`` on the application's event loop, and commit.

        Args:
            work: A function that takes a session: ``lambda session: session.get(User, 1)``.
            *args: Passed to ``work``.

        Returns:
            The result of ``work``.

        Raises:
            SandboxError: the application does not run, or the caller is on its event loop.
            Exception: that of ``work``, whose changes are rolled back.
        """
        loop = self._application_loop()
        return asyncio.run_coroutine_threadsafe(self._work(work, *args), loop).result()

    async def _work(self, work: Callable[[S, *Ts], Awaitable[T]], *args: *Ts) -> T:
        async with self._database.session() as session:
            return await work(session, *args)

    def _application_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            raise SandboxError(
                "The application does not run, so that no event loop can run this. Call it inside of "
                "'with TestClient(app) as client:'; a client without the block runs no lifespan."
            )
        if _runs_here(self._loop):
            raise SandboxError(
                "run() was called on the application's own event loop, and would wait for itself. It is "
                "for tests that are plain functions: use 'async with database.session()' here."
            )
        return self._loop

    @asynccontextmanager
    async def on_this_loop(
        self, opened: Callable[[Database[S]], AbstractAsyncContextManager[object]]
    ) -> AsyncIterator[None]:
        """Open ``opened(database)``; ``run()`` uses this event loop meanwhile."""
        async with opened(self._database):
            self._loop = asyncio.get_running_loop()
            try:
                yield
            finally:
                self._loop = None


@contextmanager
def sync_sandbox(database: Database[S]) -> Iterator[SyncDatabase[S]]:
    """Run all sessions of a ``Database`` in a sandbox on the event loop on which it will be started.

    For tests that are plain functions: ``TestClient`` runs the application on an event loop in another
    thread. The sandbox opens when the lifespan has started the ``Database``, and is rolled back when
    the lifespan stops it.

    Args:
        database: It must not run yet.

    Yields:
        Its ``run(work)`` runs a coroutine function with a session there, while the application runs.

    Raises:
        ConfigurationError: it runs already.
    """
    with _started_in(sandbox, database) as sync:
        yield sync


@contextmanager
def sync_database(database: Database[S]) -> Iterator[SyncDatabase[S]]:
    """Yield the same as ``sync_sandbox`` without a sandbox: what is committed stays."""
    with _started_in(lambda it: it, database) as sync:
        yield sync


@contextmanager
def _started_in(
    opened: Callable[[Database[S]], AbstractAsyncContextManager[object]], database: Database[S]
) -> Iterator[SyncDatabase[S]]:
    runs = runs_of(database)
    runs.refuse_running("Enter this block before the application's lifespan, around TestClient.")
    sync = SyncDatabase(database)
    with runs.around_each(partial(sync.on_this_loop, opened)):
        yield sync


def _runs_here(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False
