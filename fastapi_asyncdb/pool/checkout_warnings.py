"""Warnings of connections that are checked out for too long. No connection is taken away."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any
from weakref import ref

from sqlalchemy import Connection
from sqlalchemy.engine.interfaces import DBAPIConnection

from fastapi_asyncdb.concurrency import getcurrent
from fastapi_asyncdb.pool.fair_pool import SERVER

logger = logging.getLogger(__name__)

# Frames of these packages do not say which code of the application has the connection.
_PACKAGES = (
    "fastapi_asyncdb.",
    "sqlalchemy.",
    "sqlmodel.",
    "fastapi.",
    "starlette.",
    "contextlib",
    "asyncio.",
)
_SHOWN = 3
_CODE_OF_PACKAGES: set[CodeType] = set()
"""What of it was met: each checkout walks past the same few functions."""
_SLOW_WORK = "A pool has few: end the transaction before slow work, with 'await db.commit()'."
_ANSWER = (
    "The statement is slow, waits for a lock, or the network is cut: DATABASE_STATEMENT_TIMEOUT and "
    "DATABASE_LOCK_TIMEOUT limit the first two, DATABASE_TCP_KEEPALIVE the third."
)

Frames = list[tuple[CodeType, int, dict[str, Any]]]
"""Code, instruction and module of the callers, the innermost first."""


class CheckoutWatch:
    """Warn once of each connection that is still checked out when its time is up.

    One timer serves all: the earliest checkout is due first.

    Args:
        seconds: How long is too long.
        awaits_answer: Returns whether a statement is under way on a connection.
    """

    def __init__(
        self, seconds: float, awaits_answer: Callable[[DBAPIConnection], bool] = lambda _: False
    ) -> None:
        self.seconds = seconds
        self.awaits_answer = awaits_answer
        # Both in the order of the checkouts.
        self._out: dict[Checkout, None] = {}
        self._warned: dict[Checkout, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def begin(
        self, request: Any, connection: Connection | None = None, *, at_end: bool = False
    ) -> Checkout:
        """Start watching a checkout.

        Args:
            request: The request's ``HTTPConnection``, or ``None`` outside of requests.
            connection: What was checked out.
            at_end: Whether the end of the transaction has checked it out.
        """
        checkout = Checkout(request, connection, [] if at_end else _callers())
        self._out[checkout] = None
        if self._timer is None:
            self._wake_in(self.seconds)
        return checkout

    def end(self, checkout: Checkout) -> None:
        """Stop watching a checkout."""
        self._out.pop(checkout, None)
        if self._warned:
            self._warned.pop(checkout, None)

    def longest(self) -> Checkout | None:
        """Return the checkout that has lasted longest; ``None`` if no session has a connection."""
        self._forget_lost()
        return next(iter(self._warned or self._out), None)

    def _wake_in(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._look)

    def _forget_lost(self) -> None:
        """Forget the sessions that were garbage-collected with their connection."""
        for checkouts in (self._warned, self._out):
            for checkout in [each for each in checkouts if each.is_over()]:
                del checkouts[checkout]

    def _look(self) -> None:
        self._timer = None
        self._forget_lost()
        now = time.monotonic()
        while self._out:
            checkout = next(iter(self._out))
            left = checkout.since + self.seconds - now
            if left > 0:
                self._wake_in(left)
                return
            del self._out[checkout]
            self._warned[checkout] = None
            checkout.warn(now - checkout.since, self.awaits_answer)


class Checkout:
    """A connection that one session has, from checkout to checkin.

    Args:
        request: The request's ``HTTPConnection``, or ``None`` outside of requests.
        connection: What was checked out.
        callers: The code that made the checkout.
    """

    __slots__ = ("_callers", "_connection", "_request", "since")

    def __init__(self, request: Any, connection: Connection | None, callers: Frames) -> None:
        self.since: float = time.monotonic()
        self._request = request
        # Weak: a session without references returns its connection when it is garbage-collected.
        self._connection = None if connection is None else ref(connection)
        self._callers = callers

    def warn(self, seconds: float, awaits_answer: Callable[[DBAPIConnection], bool]) -> None:
        """Log which request has the connection, and where it was checked out."""
        raw = self._raw()
        waits = raw is not None and awaits_answer(raw)
        logger.warning(
            "%s has had a database connection%s checked out for %.1f s%s. The checkout was at %s. %s",
            self.holder(),
            f" to the {server}" if (server := self.server()) else "",
            seconds,
            ", and waits for the answer to a statement" if waits else "",
            self.place(),
            _ANSWER if waits else _SLOW_WORK,
        )

    def holder(self) -> str:
        """Return the name of its request."""
        return request_name(self._request)

    def place(self) -> str:
        """Return the lines of the application that made the checkout, the innermost first."""
        places = [
            f"{code.co_filename}:{_line(code, instruction)} in {code.co_qualname}"
            for code, instruction, module in self._callers
            if not _is_of_packages(module)
        ]
        return " < ".join(places) or "the end of the transaction"

    def server(self) -> str:
        """Return the name of the server, if there are several: ``replica db2:5432``."""
        connection = None if self._connection is None else self._connection()
        if connection is None or self._raw() is None:
            return ""
        return str(connection.info.get(SERVER, ""))

    def is_over(self) -> bool:
        """Return whether its connection is closed, or was garbage-collected."""
        return self._connection is not None and self._raw() is None

    def _raw(self) -> DBAPIConnection | None:
        connection = None if self._connection is None else self._connection()
        if connection is None or connection.closed or connection.invalidated:
            return None
        return connection.connection.dbapi_connection


def _callers() -> Frames:
    """Return the innermost frames of the user's code, unformatted: most are never logged."""
    # SQLAlchemy connects in a greenlet; the callers are in the one that started it.
    parent = getcurrent().parent
    frame: FrameType | None = sys._getframe(2) if parent is None else parent.gr_frame
    found: Frames = []
    while frame is not None and len(found) < _SHOWN:
        code = frame.f_code
        if code not in _CODE_OF_PACKAGES:
            if found or not _is_of_packages(frame.f_globals):
                found.append((code, frame.f_lasti, frame.f_globals))
            else:
                _CODE_OF_PACKAGES.add(code)
        frame = frame.f_back
    return found


def _is_of_packages(module: dict[str, Any]) -> bool:
    name: str = module.get("__name__", "")
    return name.startswith(_PACKAGES)


def _line(code: CodeType, instruction: int) -> int | None:
    """Return the line of an instruction."""
    lines = (line for start, end, line in code.co_lines() if start <= instruction < end)
    return next(lines, None)


def request_name(request: Any) -> str:
    """Return the method and the route of a request; never the path, which may contain secrets."""
    if request is None:
        return "A session outside of requests"
    route = getattr(request.scope.get("route"), "path", "an unknown route")
    return f"{request.scope.get('method', 'WebSocket')} {route}"
