"""The three dependencies that make one session per request, and their factory.

FastAPI leaves a request-scoped dependency after the response, its stream and its background tasks; a
function-scoped one before the response starts. So the first opens and ends the session, the second
ends the handler's transaction, and the third, which users declare and override, is a plain function
that may be declared with any scope.
https://fastapi.tiangolo.com/tutorial/dependencies/dependencies-with-yield/
"""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from fastapi import Depends, FastAPI
from fastapi.requests import HTTPConnection
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb.client_errors import client_error
from fastapi_asyncdb.session.ending import end_transaction
from fastapi_asyncdb.session.managed import state_of
from fastapi_asyncdb.session.misuse import UncalledDependency
from fastapi_asyncdb.session.retry import is_retryable
from fastapi_asyncdb.session.scopes import end_session
from fastapi_asyncdb.unavailable import Unavailable, answered

CONFLICT = "fastapi_asyncdb.conflict"
"""The key of the request's scope for the exception after which ``RetryRoute`` runs it again."""

S = TypeVar("S", bound=AsyncSession)

SessionDependency = Callable[[S], Awaitable[S]]


def session_dependency(
    open_session: Callable[[HTTPConnection], S],
) -> SessionDependency[S]:
    """Make a dependency that yields the request's session.

    Args:
        open_session: Opens a session for a connection: what a request and a socket have in common.
    """

    async def request_session(connection: HTTPConnection) -> AsyncIterator[AsyncSession]:
        session = open_session(connection)
        state = state_of(session)
        if connection.scope["type"] == "http":
            state.connections.releases = False  # before the handler is done, which is soon
        try:
            yield session
        except BaseException as error:
            await end_session(state, session, error)
            raise
        await end_session(state, session, None)

    async def handler_transaction(
        connection: HTTPConnection, session: AsyncSession = Depends(request_session)
    ) -> AsyncIterator[AsyncSession]:
        state = state_of(session)
        try:
            try:
                yield session
            except BaseException as error:
                await end_transaction(state, session, error, streams_on=True)
                raise
            await end_transaction(state, session, None, streams_on=True)
        except Exception as error:
            answer = answer_to(error, connection)
            if answer is error:
                raise
            raise answer from error
        state.expect_tasks_after_response()

    return _declared(Depends(handler_transaction, scope="function"))


def answer_to(error: Exception, connection: HTTPConnection) -> Exception:
    """Return the error that FastAPI answers; note in the request one that ``RetryRoute`` retries."""
    if is_retryable(error):
        connection.scope[CONFLICT] = error
    if isinstance(error, Unavailable):
        return answered(error, connection)
    return client_error(error, connection)


@contextmanager
def overridden(
    app: FastAPI, dependencies: Sequence[Callable[..., Any]], by: Callable[..., Any]
) -> Iterator[None]:
    """Override dependencies of an application in the block; the earlier overrides are restored.

    Args:
        app: The application.
        dependencies: What it declares.
        by: What it gets instead.
    """
    before = dict(app.dependency_overrides)
    app.dependency_overrides.update(dict.fromkeys(dependencies, by))
    try:
        yield
    finally:
        for dependency in dependencies:
            app.dependency_overrides.pop(dependency, None)
            if dependency in before:
                app.dependency_overrides[dependency] = before[dependency]


def _declared(transaction: Any) -> SessionDependency[Any]:
    """Make the function that users declare, from the dependency that has the session.

    FastAPI takes it for a coroutine function. It is a plain one, so that a call that is not FastAPI's
    can return an object whose errors explain the mistake.
    """

    async def given(session: AsyncSession) -> AsyncSession:
        return session

    def get_session(session: AsyncSession = transaction) -> Awaitable[AsyncSession]:
        return UncalledDependency() if session is transaction else given(session)

    return _as_coroutine_function(get_session)


def _as_coroutine_function(function: SessionDependency[Any]) -> SessionDependency[Any]:
    """Mark a function that returns an awaitable, as the event loop's owners look for it.

    https://docs.python.org/3/library/inspect.html#inspect.markcoroutinefunction
    """
    if sys.version_info >= (3, 12):
        return inspect.markcoroutinefunction(function)
    function._is_coroutine = asyncio.coroutines._is_coroutine  # type: ignore[attr-defined]
    return function
