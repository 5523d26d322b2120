"""``MongoSession``: what operations run in, with a transaction or without, and how it ends."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pymongo
from pymongo import ReadPreference
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import ConnectionFailure, OperationFailure, PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from fastapi_asyncdb import finishing
from fastapi_asyncdb.concurrency import backoff, current_task, task_name
from fastapi_asyncdb.errors import (
    CommitOutcomeUnknown,
    ConcurrentSessionUse,
    SessionClosed,
    TransactionAborted,
)
from fastapi_asyncdb.extras.mongo.errors import MAX_TIME, UNKNOWN_COMMIT, explained, reason_of
from fastapi_asyncdb.extras.mongo.run import Run

logger = logging.getLogger(__name__)

_ABORT = 0.6
"""The share of the time of an abort after which PyMongo gives up, and closes the connection."""

Collection = AsyncCollection[dict[str, Any]]


class MongoSession:
    """The session of a request or a job: operations one by one, or in a transaction.

    It opens nothing before its first operation. Repositories use it; code of your own as well::

        async with mongo.operation() as session:
            await mongo.database["notes"].insert_one({...}, session=session)

    Args:
        run: Returns the client of the event loop, when it is needed.
        transaction: Whether the operations are one transaction.
    """

    def __init__(self, run: Callable[[], Run], *, transaction: bool) -> None:
        self._get_run = run
        self._transaction = transaction
        self._session: AsyncClientSession | None = None
        self._user: asyncio.Task[Any] | None = None
        self._failure: BaseException | None = None
        self._closed = False

    def __repr__(self) -> str:
        kind = "in a transaction" if self._transaction else "without a transaction"
        return f"<MongoSession {kind}{', closed' if self._closed else ''}>"

    @property
    def run(self) -> Run:
        """The client and its settings.

        Raises:
            DatabaseNotStarted: there is none.
        """
        return self._get_run()

    @property
    def database(self) -> AsyncDatabase[dict[str, Any]]:
        """PyMongo's database."""
        return self.run.database

    @property
    def is_transaction(self) -> bool:
        """Whether the operations are one transaction."""
        return self._transaction

    @property
    def in_transaction(self) -> bool:
        """Whether an operation has begun a transaction that has not ended."""
        return self._session is not None and self._session.in_transaction

    @asynccontextmanager
    async def operation(self) -> AsyncIterator[AsyncClientSession | None]:
        """Run one operation of PyMongo; yield its argument ``session``.

        Raises:
            SessionClosed: the request or the block has ended.
            ConcurrentSessionUse: another task is in an operation of the transaction.
            TransactionsNotSupported: the server is a standalone one.
            CannotConnect, DatabaseUnavailable, DuplicateKey, InvalidValue, OperationTimeout,
            TransactionConflict: in place of PyMongo's errors.
        """
        self._check()
        task = current_task()
        cancellations = 0 if task is None else task.cancelling()
        self._user = task if self._transaction else None
        try:
            yield await self._begin() if self._transaction else None
            # wait_for() of Python 3.11, which PyMongo calls, may swallow a cancellation:
            # https://github.com/python/cpython/issues/86296
            if task is not None and task.cancelling() > cancellations:
                raise asyncio.CancelledError  # noqa: TRY301 - handled as one that arrives
        except BaseException as error:
            if isinstance(error, OperationFailure | ConnectionFailure):
                self._failure = error  # the server has ended the transaction
            answer = explained(error)
            if answer is error:
                raise
            raise answer from error
        finally:
            self._user = None

    def _check(self) -> None:
        if self._closed:
            raise SessionClosed(
                "The session of MongoDB was used after its request or its block had ended. Open "
                "one of your own: 'async with default_mongo.session() as mongo:'."
            )
        if self._user is not None:
            raise ConcurrentSessionUse(
                f"{task_name(current_task())} uses a transaction while {task_name(self._user)} is "
                "in the middle of an operation of it. MongoDB runs one operation of a transaction "
                "at a time: await them one by one, or use sessions of their own."
            )

    async def _begin(self) -> AsyncClientSession:
        """Begin the transaction, which sends nothing: the first operation does."""
        if self._session is None:
            self._session = self.run.client.start_session()
        if not self._session.in_transaction:
            self._failure = None
            await self._session.start_transaction(
                read_concern=ReadConcern("snapshot"),
                write_concern=WriteConcern("majority"),
                read_preference=ReadPreference.PRIMARY,
            )
        return self._session

    async def end_transaction(self, error: BaseException | None) -> None:
        """Commit, or abort after any exception; nothing if no operation ran.

        Either is finished although the caller is cancelled, in bounded time.

        Args:
            error: What left the block around it.

        Raises:
            TransactionAborted: an operation had failed, and the error was swallowed.
            TransactionConflict: another transaction was first; nothing is stored.
            CommitOutcomeUnknown: there was no answer to the commit within ``commit_timeout``.
        """
        if not self.in_transaction:
            return
        if error is None and self._failure is None:
            grace = finishing.GRACE.ending
            await finishing.finish(self._commit(), grace=lambda: grace)
            return
        await self._abort(finishing.GRACE.ending)
        if error is None:
            raise TransactionAborted(
                "An operation of the transaction has failed and the code went on, but MongoDB had "
                "ended the transaction with it: nothing was stored. Let the error pass, or check "
                "before you write."
            ) from self._failure

    async def close(self, error: BaseException | None) -> None:
        """End the transaction and the session, which refuses further use."""
        try:
            await self.end_transaction(error)
        finally:
            self._closed = True
            if self._session is not None:
                await finishing.finish(self._session.end_session(), limit=finishing.GRACE.closing)

    async def _commit(self) -> None:
        try:
            await commit(self._session, self.run.settings.commit_timeout)
        except PyMongoError as error:
            answer = explained(error)
            raise answer from (None if answer is error else error)

    async def _abort(self, seconds: float) -> None:
        try:
            await finishing.finish(self._abort_now(seconds), grace=lambda: seconds, limit=seconds)
        except TimeoutError:
            # The error of the block matters more.
            logger.warning(
                "A transaction of MongoDB was not aborted within %g s. Nothing is stored: the server "
                "ends it after transactionLifetimeLimitSeconds, 60 by default.",
                seconds,
            )

    async def _abort_now(self, seconds: float) -> None:
        if self._session is not None:
            with pymongo.timeout(seconds * _ABORT):
                await self._session.abort_transaction()


async def commit(session: AsyncClientSession | None, seconds: float) -> None:
    """Commit; without an answer send the commit again, which does nothing twice.

    https://github.com/mongodb/specifications/blob/master/source/transactions/transactions.md#unknowntransactioncommitresult

    Args:
        session: In a transaction.
        seconds: How long it is sent again.

    Raises:
        CommitOutcomeUnknown: there was no answer in time.
        PyMongoError: it was refused.
    """
    if session is None:
        return
    deadline, attempts = time.monotonic() + seconds, 0
    while True:
        attempts += 1
        try:
            with pymongo.timeout(max(deadline - time.monotonic(), 0.001)):
                await session.commit_transaction()
        except PyMongoError as error:
            if not error.has_error_label(UNKNOWN_COMMIT):
                raise
            delay = backoff(attempts, base=0.05, cap=1.0)
            if getattr(error, "code", None) == MAX_TIME or time.monotonic() + delay >= deadline:
                raise _unknown(error, seconds) from error
        else:
            return
        await asyncio.sleep(delay)


def _unknown(error: PyMongoError, seconds: float) -> CommitOutcomeUnknown:
    explained(error)
    return CommitOutcomeUnknown(
        f"MongoDB has not answered the commit within {seconds:g} s, though it was sent again, so "
        f"the work is either stored or not ({type(error).__name__}: {reason_of(error)}). The "
        "server or the network failed at that moment. Do not repeat the work before you have "
        "looked for its documents.",
        error,
    )
