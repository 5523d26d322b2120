"""The errors that FastAPI answers with 404, 409 and 422: missing rows, stale versions, cursors."""

from __future__ import annotations

from typing import Any

from fastapi import HTTPException, status
from fastapi.exceptions import RequestValidationError
from fastapi.requests import HTTPConnection
from sqlalchemy.orm.exc import StaleDataError

from fastapi_asyncdb.errors import InvalidCursor, NotFoundError

STALE = "Another request has changed or deleted this. Please read it again before you change it."
INVALID_CURSOR = "The cursor is not valid here. Please start again without one."


def not_found(model: str | None) -> str:
    """Return what a client is told of a row that is not there."""
    return f"{model} not found." if model else "Not found."


# As in unavailable.py: a handler of the application for the first base comes before FastAPI's own for
# the second. The client sees the detail, the log the message.
class _NotFound(NotFoundError, HTTPException):
    def __init__(self, message: str, *, model: str | None = None) -> None:
        HTTPException.__init__(self, status.HTTP_404_NOT_FOUND, not_found(model))
        self.args, self.model = (message,), model


class _Stale(StaleDataError, HTTPException):
    def __init__(self, message: str) -> None:
        HTTPException.__init__(self, status.HTTP_409_CONFLICT, STALE)
        self.args = (message,)


class _InvalidCursor(InvalidCursor, RequestValidationError):
    def __init__(self, message: str) -> None:
        detail: dict[str, Any] = {
            "type": "invalid_cursor",
            "loc": ("query", "cursor"),
            "msg": INVALID_CURSOR,
        }
        RequestValidationError.__init__(self, [detail])
        self.args = (message,)


def client_error(error: Exception, connection: HTTPConnection) -> Exception:
    """Return the error as one that FastAPI answers, or unchanged if it is not the client's.

    A WebSocket has no status, so its errors stay unchanged.
    """
    if connection.scope["type"] != "http":
        return error
    message = str(error.args[0]) if error.args else ""
    if isinstance(error, NotFoundError):
        return _NotFound(message, model=error.model)
    if isinstance(error, InvalidCursor):
        return _InvalidCursor(message)
    return _Stale(message) if isinstance(error, StaleDataError) else error
