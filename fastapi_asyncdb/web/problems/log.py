"""The log of errors that were answered: one record each, without values, and few tracebacks."""

from __future__ import annotations

import logging
import textwrap
import traceback
from collections import defaultdict
from collections.abc import Iterator
from functools import partial

from sqlalchemy.exc import DBAPIError, StatementError

from fastapi_asyncdb.dialects import Rejection
from fastapi_asyncdb.errors import AsyncDBError, NotFoundError
from fastapi_asyncdb.throttle import Throttle
from fastapi_asyncdb.tracebacks import place_of
from fastapi_asyncdb.web.problems.mapping import Diagnosed
from fastapi_asyncdb.web.problems.problem import Problem

logger = logging.getLogger(__name__)

_SECONDS, _RECORDS = 10.0, 10
"""So many records of one kind in so many seconds: during an outage every request fails, and a client
can send the same wrong request again and again. Errors with status 500 are logged each time."""
_TRACEBACK_SECONDS = 60.0
_LONGEST, _LONGEST_OF_5XX = 200, 1000
"""Characters of a message. One for the developer may be longer: it says what to change."""


class ProblemLog:
    """Logs what was answered: 4xx with INFO, 503 and 504 with WARNING, 500 with ERROR."""

    def __init__(self) -> None:
        self._records = defaultdict[str, Throttle](partial(Throttle, _SECONDS, _RECORDS))
        self._tracebacks = defaultdict[str, Throttle](partial(Throttle, _TRACEBACK_SECONDS))

    def add(self, route: str, problem: Problem, found: Diagnosed, error: Exception) -> None:
        """Log an answer, unless there were many of its kind a moment ago.

        Args:
            route: The method and the path with its parameters, which are names and no values.
            problem: What the client got.
            found: What is known of the error.
            error: The error.
        """
        omitted = 0 if problem.status == 500 else self._records[found.kind].admit()
        if omitted is None:
            return
        more = f" Not logged since the last of this kind: {omitted}." if omitted else ""
        longest = _LONGEST if problem.status < 500 else _LONGEST_OF_5XX
        logger.log(
            _level(problem.status),
            "%s was answered with %d %s, %s: %s.%s%s",
            route,
            problem.status,
            found.kind,
            problem.instance,
            textwrap.shorten(_describe(error, found.rejection), longest),
            more,
            self._traceback(found.kind, problem, error),
        )

    def _traceback(self, kind: str, problem: Problem, error: Exception) -> str:
        if problem.status < 500 or self._tracebacks[kind].admit() is None:
            return ""
        return "".join(["\n", *_frames(error)]).rstrip()


def _level(status: int) -> int:
    if status == 500:
        return logging.ERROR
    return logging.INFO if status < 500 else logging.WARNING


def _describe(error: Exception, rejection: Rejection | None) -> str:
    """Return an error in one line.

    It has the values of a statement, which are in a driver's message, only where the engine shows them:
    ``hide_parameters`` is set outside of development and tests.
    """
    cause = error if isinstance(error, AsyncDBError) else getattr(error, "orig", None) or error
    words = [type(cause).__name__]
    if rejection is None:
        words.append(_code(cause))
    else:
        words += [rejection.code or "", rejection.constraint or "", *_columns(rejection)]
    described = " ".join(filter(None, words))
    message = _message(error)
    return f"{described}: {message}" if message else described


def _code(error: BaseException) -> str:
    """Return the driver's code: the message is hidden, and asyncpg has one class for many codes."""
    names = ("sqlstate", "sqlite_errorname")
    return next((str(code) for name in names if (code := getattr(error, name, None))), "")


def _columns(rejection: Rejection) -> Iterator[str]:
    for column in rejection.columns:
        yield f"{rejection.table}.{column}"


def _message(error: Exception) -> str:
    if isinstance(error, NotFoundError):
        return error.model or ""  # its message has the key
    if isinstance(error, AsyncDBError):
        return _line(error.args[0] if error.args else "")
    if isinstance(error, StatementError) and not error.hide_parameters:
        return _line(error.orig if isinstance(error, DBAPIError) else error.args[0])
    return ""


def _line(text: object) -> str:
    return " ".join(str(text).split()).rstrip(".")


def _frames(error: Exception) -> list[str]:
    """Return where the application's code was when the error came, and where it was raised.

    Not the frames between, nor the messages, which may have values.
    """
    tb = error.__traceback__
    frames = list(zip(traceback.walk_tb(tb), traceback.extract_tb(tb), strict=True))
    own = [shown for (frame, _), shown in frames[:-1] if place_of(frame)]
    return traceback.format_list([*own, *(shown for _, shown in frames[-1:])])
