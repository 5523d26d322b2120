"""``MongoDatabase``: starts and stops the client, opens sessions, makes FastAPI's dependencies."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cached_property, partial
from typing import Any, Self, TypeVar, TypeVarTuple
from weakref import WeakKeyDictionary

from pydantic import BaseModel
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import PyMongoError

from fastapi_asyncdb import finishing
from fastapi_asyncdb.errors import DatabaseNotStarted
from fastapi_asyncdb.extras.mongo.dependencies import (
    MongoDependency,
    mongo_dependency,
    session_scope,
)
from fastapi_asyncdb.extras.mongo.errors import explained
from fastapi_asyncdb.extras.mongo.indexes import OnDifference, ensure_indexes
from fastapi_asyncdb.extras.mongo.run import Run, create_run, first_connection, ping, unavailable
from fastapi_asyncdb.extras.mongo.session import MongoSession
from fastapi_asyncdb.extras.mongo.settings import MongoSettings
from fastapi_asyncdb.session.retry import Attempts
from fastapi_asyncdb.session.transactions import repeat
from fastapi_asyncdb.tracebacks import forget_locals

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class MongoDatabase:
    """One MongoDB database of an application.

    It reads no settings and opens no connection before its start. It may be started several times, and
    on several event loops, which have clients of their own; the last stop closes them.

    Args:
        settings: Where the database is; ``None`` reads ``MONGO_*`` at each start.
        models: The models whose indexes the start creates.
        on_index_difference: What happens with an index that differs from its declaration: ``error``
            stops the start, ``warning`` goes on, ``change ttl`` changes its TTL.
    """

    def __init__(
        self,
        settings: MongoSettings | None = None,
        *,
        models: Sequence[type[BaseModel]] = (),
        on_index_difference: OnDifference = "error",
    ) -> None:
        self.settings = settings
        self.models = models
        self.on_index_difference: OnDifference = on_index_difference
        self._runs: WeakKeyDictionary[asyncio.AbstractEventLoop, Run] = WeakKeyDictionary()

    def __repr__(self) -> str:
        runs = list(self._runs.values())
        state = f"started on {runs[0].target!r}" if runs else "not started"
        return f"<{type(self).__name__} {state}>"

    async def start(
        self, settings: MongoSettings | None = None, *, require_connection: bool = True
    ) -> None:
        """Open the first connection, and create missing indexes; each start asks for one ``stop()``.

        Args:
            settings: For this run, instead of the ``MongoDatabase``'s own.
            require_connection: ``False`` tries once and goes on without a connection, and without
                creating indexes: requests get 503 until one can be made.

        Raises:
            ConfigurationError: wrong settings.
            DatabaseUnavailable: no answer within ``startup_timeout`` seconds.
            IndexMismatch: an index differs from its declaration.
        """
        loop = asyncio.get_running_loop()
        running = self._runs.get(loop)
        if running is not None:
            running.starts += 1
            return
        run = self._runs[loop] = create_run(settings or self.settings or MongoSettings())
        try:
            if await first_connection(run, required=require_connection):
                await self._ensure_indexes(run)
        except BaseException:
            await self.stop()
            raise

    async def _ensure_indexes(self, run: Run) -> None:
        try:
            await ensure_indexes(run.database, self.models, on_difference=self.on_index_difference)
        except PyMongoError as error:
            answer = explained(error)
            raise answer from (None if answer is error else error)

    async def stop(self) -> None:
        """Close all connections, if this ends the last start on this event loop.

        The server rolls back the transactions that are open.
        """
        loop = asyncio.get_running_loop()
        run = self._runs.get(loop)
        if run is None:
            return
        run.starts -= 1
        if run.starts <= 0:
            del self._runs[loop]
            await finishing.finish(run.client.close(), limit=finishing.GRACE.closing)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.stop()

    @asynccontextmanager
    async def lifespan(
        self, app: Any = None, *, require_connection: bool = True
    ) -> AsyncIterator[None]:
        """Run the database while the application runs: ``FastAPI(lifespan=mongo.lifespan)``.

        Args:
            app: The application, which FastAPI passes.
            require_connection: As in ``start()``.
        """
        await self.start(require_connection=require_connection)
        try:
            yield
        finally:
            await self.stop()

    @property
    def client(self) -> AsyncMongoClient[dict[str, Any]]:
        """PyMongo's client."""
        return self._run().client

    @property
    def database(self) -> AsyncDatabase[dict[str, Any]]:
        """PyMongo's database."""
        return self._run().database

    def _run(self) -> Run:
        run = self._runs.get(asyncio.get_running_loop())
        if run is None:
            raise DatabaseNotStarted(
                "MongoDB is used before its start, after its stop, or on another event loop. The "
                "lifespan is missing: FastAPI(lifespan=mongo_lifespan), or 'async with mongo:' in "
                "a script. In tests, use async_client(app), which runs the lifespan."
            )
        return run

    async def ping(self, *, timeout: float | None = None) -> float:  # noqa: ASYNC109
        """Return the seconds that the server takes to answer.

        Args:
            timeout: Seconds to wait; ``None`` is ``connect_timeout``.

        Raises:
            DatabaseUnavailable: there is no answer in time.
        """
        run, started = self._run(), time.monotonic()
        try:
            await ping(run, run.settings.connect_timeout if timeout is None else timeout)
        except PyMongoError as error:
            forget_locals(error)
            raise unavailable(run, error) from None
        return time.monotonic() - started

    def session(self) -> AbstractAsyncContextManager[MongoSession]:
        """Open a session for a job or a script, whose operations stand alone."""
        return asynccontextmanager(session_scope(self._opener(transaction=False)))()

    def transaction(self) -> AbstractAsyncContextManager[MongoSession]:
        """Open a session whose operations are one transaction, which commits when the block ends.

        It is rolled back on any exception.

        Raises:
            TransactionsNotSupported: at the first operation: the server is a standalone one.
            CommitOutcomeUnknown: there was no answer to the commit.
        """
        return asynccontextmanager(session_scope(self._opener(transaction=True)))()

    def _opener(self, *, transaction: bool) -> Callable[[], MongoSession]:
        return partial(MongoSession, self._run, transaction=transaction)

    async def run_in_transaction(
        self,
        work: Callable[[MongoSession, *Ts], Awaitable[T]],
        *args: *Ts,
        attempts: int = 5,
        deadline: float | None = 30.0,
    ) -> T:
        """Run ``await work(session, *args)`` in its own transaction, again if it meets a conflict.

        After a write conflict, or a lost connection before the commit, the work runs again, in a new
        session, after a random pause that grows. Any other error ends it.

        Args:
            work: A coroutine function whose first argument is the session.
            *args: Passed to ``work``.
            attempts: How often to run it altogether.
            deadline: Seconds after which no further attempt starts; ``None`` is no limit.

        Returns:
            The result of the attempt that was committed.

        Raises:
            ConfigurationError: ``attempts`` below 1, or ``deadline`` below 0.
            Exception: the last attempt's own, with a note of how many there were.
        """
        tries = Attempts(attempts, deadline)
        return await repeat(lambda session: work(session, *args), self.transaction, tries)

    @cached_property
    def get_mongo(self) -> MongoDependency:
        """The dependency whose operations stand alone."""
        return mongo_dependency(self._opener(transaction=False))

    @cached_property
    def get_mongo_transaction(self) -> MongoDependency:
        """The dependency whose operations are one transaction, committed before the response."""
        return mongo_dependency(self._opener(transaction=True))
