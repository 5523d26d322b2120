"""The three dependencies that make one session of MongoDB per request.

As those for SQL: a request-scoped one ends the session, a function-scoped one the handler's transaction
before the response starts, and a plain one is declared and overridden.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

from fastapi import Depends
from fastapi.requests import HTTPConnection

from fastapi_asyncdb.dependencies import answer_to
from fastapi_asyncdb.extras.mongo.errors import explained
from fastapi_asyncdb.extras.mongo.session import MongoSession

MongoDependency = Callable[[MongoSession], Awaitable[MongoSession]]


def session_scope(
    open_session: Callable[[], MongoSession],
) -> Callable[[], AsyncIterator[MongoSession]]:
    """Make the generator function that opens a session, yields it and ends it.

    Args:
        open_session: Opens a session.
    """

    async def scope() -> AsyncIterator[MongoSession]:
        session = open_session()
        try:
            yield session
        except BaseException as error:
            await session.close(error)
            raise
        await session.close(None)

    return scope


def mongo_dependency(open_session: Callable[[], MongoSession]) -> MongoDependency:
    """Make a dependency that yields the request's session.

    Args:
        open_session: Opens a session.
    """
    request_session = session_scope(open_session)

    async def handler_transaction(
        connection: HTTPConnection, session: MongoSession = Depends(request_session)
    ) -> AsyncIterator[MongoSession]:
        try:
            try:
                yield session
            except BaseException as error:
                await session.end_transaction(error)
                raise
            await session.end_transaction(None)
        except Exception as error:
            raise_answer(error, connection)

    async def get_session(
        session: MongoSession = Depends(handler_transaction, scope="function"),
    ) -> MongoSession:
        return session

    return get_session


def raise_answer(error: Exception, connection: HTTPConnection) -> None:
    """Raise the error as one that FastAPI answers; one of PyMongo's as that of the library."""
    known = explained(error)
    answer = answer_to(known, connection) if isinstance(known, Exception) else error
    if answer is error:
        raise error
    raise answer from error
