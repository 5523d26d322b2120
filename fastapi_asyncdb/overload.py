"""What a request or socket answers when the pool was at its limit. Decides nothing about waiting."""

from __future__ import annotations

from typing import Any

from fastapi import HTTPException, WebSocket, WebSocketException, status
from fastapi.requests import HTTPConnection
from starlette.websockets import WebSocketState

from fastapi_asyncdb.errors import PoolTimeout, TooManyWaiting

_DETAIL = "The service is busy. Please try again later."
# https://asgi.readthedocs.io/en/latest/extensions.html#websocket-denial-response
_DENIAL = "websocket.http.response"


# Starlette looks for a handler along these bases: one for PoolTimeout, or for SQLAlchemy's errors,
# comes before FastAPI's own for the second base. The client sees the detail, the log the message.
class _Answered(PoolTimeout, HTTPException):
    def __init__(self, message: str) -> None:
        HTTPException.__init__(self, status.HTTP_503_SERVICE_UNAVAILABLE, _DETAIL)
        self.args = (message,)


class _AnsweredAtOnce(TooManyWaiting, _Answered):
    pass


class _Closed(PoolTimeout, WebSocketException):
    code: Any  # the socket's; to SQLAlchemy it is the page of an error, which it would append

    def __init__(self, message: str) -> None:
        WebSocketException.__init__(self, status.WS_1013_TRY_AGAIN_LATER, _DETAIL)
        self.args = (message,)

    def __str__(self) -> str:
        return str(self.args[0])


class _ClosedAtOnce(TooManyWaiting, _Closed):
    pass


def overloaded(error: PoolTimeout, connection: HTTPConnection) -> PoolTimeout:
    """Return the error as one that FastAPI answers: with 503, or by closing an accepted socket."""
    at_once = isinstance(error, TooManyWaiting)
    if _has_status(connection):
        return (_AnsweredAtOnce if at_once else _Answered)(str(error))
    return (_ClosedAtOnce if at_once else _Closed)(str(error))


def _has_status(connection: HTTPConnection) -> bool:
    """Tell whether the answer may be a response; a socket's server may know none but the close."""
    if not isinstance(connection, WebSocket):
        return True
    connecting = connection.application_state is WebSocketState.CONNECTING
    return connecting and _DENIAL in (connection.scope.get("extensions") or {})
