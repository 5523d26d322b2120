"""``install_error_handlers``: errors of databases and of requests as problems."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from inspect import iscoroutinefunction
from typing import Any, cast
from uuid import uuid4

from fastapi import FastAPI, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exception_handlers import http_exception_handler, request_validation_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.requests import HTTPConnection, Request
from sqlalchemy import MetaData
from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException, WebSocketException
from starlette.websockets import WebSocket

from fastapi_asyncdb.errors import AsyncDBError
from fastapi_asyncdb.web.problems.kinds import TYPE_BASE
from fastapi_asyncdb.web.problems.log import ProblemLog
from fastapi_asyncdb.web.problems.mapping import ProblemMapping
from fastapi_asyncdb.web.problems.openapi import describe_problems
from fastapi_asyncdb.web.problems.problem import Problem, ProblemResponse

_DEFAULTS = (http_exception_handler, request_validation_exception_handler)
"""FastAPI's own, which are replaced."""


def install_error_handlers(
    app: Starlette,
    *,
    constraints: Mapping[str, str | Problem] | None = None,
    metadata: MetaData | None = None,
    type_base: str = TYPE_BASE,
    http_exceptions: bool = False,
    validation_errors: bool = True,
) -> None:
    """Answer errors of databases, and invalid requests, with problems (RFC 9457).

    An exception handler that the application has, for the class of an error or for one of its bases,
    comes first if it is more special, and is not replaced. A mounted application has handlers of its
    own: call this for each. Sockets are left alone.

    Args:
        app: The application, FastAPI's or Starlette's. One of FastAPI describes the problems in its
            OpenAPI.
        constraints: What to answer for the constraint of this name: the ``detail``, or a whole
            ``Problem``.
        metadata: The tables, for the names of constraints and columns; by default those of
            ``default_database``, or else of ``Base``.
        type_base: What stands before the name of a kind in the ``type`` of a problem.
        http_exceptions: Answer each ``HTTPException`` with a problem too. The default leaves
            FastAPI's answer, ``{"detail": ...}``.
        validation_errors: Answer each ``RequestValidationError`` with a problem, unless the application
            has a handler of its own for it. ``False`` keeps FastAPI's 422.
    """
    problems = ProblemMapping(constraints or {}, metadata, type_base)
    answer = _Answers(app, problems)
    for cls in (AsyncDBError, SQLAlchemyError, UnicodeEncodeError):
        _add(app, cls, answer.error)
    _add(app, ExceptionGroup, answer.group)
    if validation_errors:
        _add(app, RequestValidationError, answer.error)
    if http_exceptions:
        _add(app, HTTPException, answer.http_exception)
    if isinstance(app, FastAPI):
        describe_problems(app, problems, handler=answer.error, all_errors=http_exceptions)


def _add(app: Starlette, cls: type[Exception], handler: Any) -> None:
    if app.exception_handlers.get(cls) in (None, *_DEFAULTS):
        app.add_exception_handler(cls, handler)


class _Answers:
    """The exception handlers of one application."""

    def __init__(self, app: Starlette, problems: ProblemMapping) -> None:
        self._app = app
        self._problems = problems
        self._log = ProblemLog()

    async def error(self, connection: HTTPConnection, error: Exception) -> Response | None:
        """Answer an error of a database or of a request."""
        if (own := self._own_handler(error)) is not None:
            return await _call(own, connection, error)
        if connection.scope["type"] == "websocket":
            return await _leave(cast(WebSocket, connection), error)
        found = self._problems.of(error)
        if found is None:
            raise error
        problem = replace(found.problem, instance=f"urn:uuid:{uuid4()}")
        sent = partial(self._log.add, _route(connection), problem, found, _origin(error))
        return ProblemResponse(problem, sent=sent)

    async def group(self, connection: HTTPConnection, error: Exception) -> Response | None:
        """Answer the only error of a group, as a ``TaskGroup`` raises it; leave other groups alone."""
        only: Exception | None = error
        while isinstance(only, ExceptionGroup):
            only = only.exceptions[0] if len(only.exceptions) == 1 else None
        if only is None or self._problems.of(only) is None:
            raise error
        return await self.error(connection, only)

    def _own_handler(self, error: Exception) -> Any:
        """Return the application's handler for one of SQLAlchemy's classes.

        Starlette finds that for ``AsyncDBError`` before it: the library's errors have both as bases.
        """
        bases = (cls for cls in type(error).__mro__ if issubclass(cls, SQLAlchemyError))
        handlers = (self._app.exception_handlers.get(cls) for cls in bases)
        return next((own for own in handlers if own not in (None, self.error)), None)

    async def http_exception(self, connection: HTTPConnection, error: Exception) -> Response | None:
        """Answer an ``HTTPException`` with a problem that has no type of its own."""
        error = cast(HTTPException, error)
        if connection.scope["type"] == "websocket" or error.status_code < HTTPStatus.BAD_REQUEST:
            return await http_exception_handler(cast(Request, connection), error)
        detail: Any = error.detail  # FastAPI's may be anything
        problem = Problem(
            title=_phrase(error.status_code),
            status=error.status_code,
            detail=detail if isinstance(detail, str) else None,
            extensions={} if isinstance(detail, str | None) else {"info": detail},
        )
        return ProblemResponse(problem, headers=error.headers)


async def _call(handler: Any, connection: HTTPConnection, error: Exception) -> Response | None:
    """Call a handler as Starlette does: a function that is no coroutine function, in a thread."""
    if iscoroutinefunction(handler):
        response: Response | None = await handler(connection, error)
        return response
    return await run_in_threadpool(handler, connection, error)


async def _leave(socket: WebSocket, error: Exception) -> Response | None:
    """Do with a socket's error what happens without the handlers."""
    if isinstance(error, WebSocketException):
        await socket.close(error.code, error.reason)
        return None
    if isinstance(error, HTTPException):  # refused before it was accepted, with a response
        return await http_exception_handler(cast(Request, socket), error)
    raise error


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return str(status)


def _origin(error: Exception) -> Exception:
    """Return the error that a dependency of a session has turned into one that FastAPI answers."""
    cause = error.__cause__
    turned = isinstance(error, HTTPException | RequestValidationError)
    return cause if turned and isinstance(cause, Exception) else error


def _route(connection: HTTPConnection) -> str:
    """Return the method and the path as the route declares it: it has no values of the client's."""
    route = connection.scope.get("route")
    return f"{connection.scope['method']} {getattr(route, 'path', '(no route)')}"
