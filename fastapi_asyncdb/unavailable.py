"""Answers to requests and sockets that get no session or connection: 503, or a close; their log."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import HTTPException, WebSocket, WebSocketException, status
from fastapi.requests import HTTPConnection
from starlette.websockets import WebSocketState

from fastapi_asyncdb.errors import CannotConnect, DatabaseStopping, PoolTimeout, TooManyWaiting
from fastapi_asyncdb.throttle import Throttle

logger = logging.getLogger(__name__)

BUSY = "The service is busy. Please try again later."
STOPPING = "The service is restarting. Please try again later."
DOWN = "The database is not available. Please try again later."
# https://asgi.readthedocs.io/en/latest/extensions.html#websocket-denial-response
_DENIAL = "websocket.http.response"


# Starlette looks for a handler along these bases: one for PoolTimeout, or for SQLAlchemy's errors,
# comes before FastAPI's own for the second base. The client sees the detail, the log the message.
class _Answered(PoolTimeout, HTTPException):
    def __init__(self, message: str) -> None:
        HTTPException.__init__(self, status.HTTP_503_SERVICE_UNAVAILABLE, BUSY)
        self.args = (message,)


class _AnsweredAtOnce(TooManyWaiting, _Answered):
    pass


class _AnsweredDown(CannotConnect, HTTPException):
    detail: Any  # the response's; SQLAlchemy has a list of that name, for its own message

    def __init__(self, message: str, orig: BaseException | None) -> None:
        CannotConnect.__init__(self, message, orig)
        HTTPException.__init__(self, status.HTTP_503_SERVICE_UNAVAILABLE, DOWN)
        self.args = (message,)


class _AnsweredStopping(DatabaseStopping, HTTPException):
    def __init__(self, message: str) -> None:
        HTTPException.__init__(self, status.HTTP_503_SERVICE_UNAVAILABLE, STOPPING)
        self.args = (message,)


class _Closed(PoolTimeout, WebSocketException):
    code: Any  # the socket's; to SQLAlchemy it is the page of an error

    def __init__(self, message: str) -> None:
        WebSocketException.__init__(self, status.WS_1013_TRY_AGAIN_LATER, BUSY)
        self.args = (message,)


class _ClosedAtOnce(TooManyWaiting, _Closed):
    pass


class _ClosedDown(CannotConnect, WebSocketException):
    code: Any

    def __init__(self, message: str, orig: BaseException | None) -> None:
        CannotConnect.__init__(self, message, orig)
        WebSocketException.__init__(self, status.WS_1013_TRY_AGAIN_LATER, DOWN)
        self.args = (message,)


class _ClosedStopping(DatabaseStopping, WebSocketException):
    def __init__(self, message: str) -> None:
        WebSocketException.__init__(self, status.WS_1013_TRY_AGAIN_LATER, STOPPING)
        self.args = (message,)


Unavailable = PoolTimeout | CannotConnect | DatabaseStopping
"""The errors that a request is answered with 503 for."""


def answered(error: Unavailable, connection: HTTPConnection) -> Unavailable:
    """Return the error as one that FastAPI answers: with 503, or by closing an accepted socket."""
    as_response = _has_status(connection)
    if isinstance(error, CannotConnect):
        return (_AnsweredDown if as_response else _ClosedDown)(error.args[0], error.orig)
    if isinstance(error, DatabaseStopping):
        return (_AnsweredStopping if as_response else _ClosedStopping)(error.args[0])
    at_once = isinstance(error, TooManyWaiting)
    if as_response:
        return (_AnsweredAtOnce if at_once else _Answered)(error.args[0])
    return (_ClosedAtOnce if at_once else _Closed)(error.args[0])


def _has_status(connection: HTTPConnection) -> bool:
    """Return whether the answer may be a response; not every server lets a socket have one."""
    if not isinstance(connection, WebSocket):
        return True
    connecting = connection.application_state is WebSocketState.CONNECTING
    return connecting and _DENIAL in (connection.scope.get("extensions") or {})


class OutageLog:
    """Warn of probes that were answered with 503, which no server logs as errors."""

    def __init__(self) -> None:
        self._throttle = Throttle()

    def add(self, error: Exception) -> None:
        """Count a probe; warn at most once in ten seconds."""
        omitted = self._throttle.admit()
        if omitted is not None:
            logger.warning(
                "%s Answered with 503 since the last such warning: %d.", error, omitted + 1
            )
