"""Who holds a connection for too long. Watches and tells; takes nothing away."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any
from weakref import ReferenceType, ref

from sqlalchemy import Connection
from sqlalchemy.engine.interfaces import DBAPIConnection

logger = logging.getLogger(__name__)

# Frames of the library and of what it stands on say nothing about who is to blame.
_OURS = ("fastapi_asyncdb.", "sqlalchemy.", "fastapi.", "starlette.", "contextlib", "asyncio.")
_TOLD = 3
_SLOW_WORK = "A pool has few: end the transaction before slow work, with 'await db.commit()'."
_ANSWER = (
    "The statement is slow, waits for a lock, or the network is cut: DATABASE_STATEMENT_TIMEOUT and "
    "DATABASE_LOCK_TIMEOUT bound the first two, DATABASE_TCP_KEEPALIVE the third."
)

Frames = list[tuple[CodeType, int, dict[str, Any]]]
"""Code, instruction and module of the callers, the innermost first."""


class HoldWatch:
    """Warn once of each connection that is still held when its time is up.

    One timer serves all: what is taken first is due first.

    Args:
        seconds: How long is too long.
        awaits_answer: Tells whether a statement is under way on a connection.
    """

    def __init__(
        self, seconds: float, awaits_answer: Callable[[DBAPIConnection], bool] = lambda _: False
    ) -> None:
        self.seconds = seconds
        self.awaits_answer = awaits_answer
        # In the order in which they were taken.
        self._held: dict[Hold, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, hold: Hold) -> None:
        """Start to wait for it."""
        self._held[hold] = time.monotonic()
        if self._timer is None:
            self._wake_in(self.seconds)

    def remove(self, hold: Hold) -> None:
        """Stop to wait for it."""
        self._held.pop(hold, None)

    def _wake_in(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        self._timer = None
        now = time.monotonic()
        while self._held:
            hold, since = next(iter(self._held.items()))
            left = since + self.seconds - now
            if left > 0:
                self._wake_in(left)
                return
            del self._held[hold]
            hold.warn(now - since)


class Hold:
    """What one session holds, and since when.

    Args:
        watch: Who is told.
        request: The request's connection, or ``None`` outside of requests.
    """

    __slots__ = ("_connection", "_frames", "_held", "_request", "_watch")

    def __init__(self, watch: HoldWatch, request: Any = None) -> None:
        self._watch = watch
        self._request = request
        self._frames: Frames = []
        self._held = False
        # Weak: a session that is forgotten gives its connection back when it is collected.
        self._connection: ReferenceType[Connection] | None = None

    def approach(self) -> None:
        """Note who is about to take a connection: in the greenlet that takes it, nobody can tell."""
        if not self._held:
            self._frames = _frames(sys._getframe(2))

    def take(self, connection: Connection | None = None) -> None:
        """Start to count."""
        self._connection = None if connection is None else ref(connection)
        if not self._held:
            self._held = True
            self._watch.add(self)

    def give_back(self) -> None:
        """Stop to count."""
        self._connection = None
        if self._held:
            self._held = False
            self._watch.remove(self)

    def warn(self, seconds: float) -> None:
        """Log who holds the connection, and where it was taken."""
        users = [
            f"{code.co_filename}:{_line(code, instruction)} in {code.co_qualname}"
            for code, instruction, module in self._frames
            if not _is_ours(module)
        ]
        logger.warning(
            "%s has held a database connection for %.1f s%s. It was taken at %s. %s",
            _name(self._request),
            seconds,
            ", and waits for the answer to a statement" if self._awaits_answer() else "",
            " < ".join(users) or "the end of the transaction",
            _ANSWER if self._awaits_answer() else _SLOW_WORK,
        )

    def _awaits_answer(self) -> bool:
        connection = None if self._connection is None else self._connection()
        if connection is None or connection.closed or connection.invalidated:
            return False
        raw = connection.connection.dbapi_connection
        return raw is not None and self._watch.awaits_answer(raw)


def _frames(frame: FrameType | None) -> Frames:
    """Note the innermost frames of the user's code and no more: they may never be looked at."""
    found: Frames = []
    while frame is not None and len(found) < _TOLD:
        module = frame.f_globals
        if found or not module.get("__name__", "").startswith(_OURS):
            found.append((frame.f_code, frame.f_lasti, module))
        frame = frame.f_back
    return found


def _is_ours(module: dict[str, Any]) -> bool:
    name: str = module.get("__name__", "")
    return name.startswith(_OURS)


def _line(code: CodeType, instruction: int) -> int | None:
    """Return the line of an instruction."""
    lines = (line for start, end, line in code.co_lines() if start <= instruction < end)
    return next(lines, None)


def _name(request: Any) -> str:
    """Return the method and the route; never the path, which may hold secrets."""
    if request is None:
        return "A session outside of requests"
    route = getattr(request.scope.get("route"), "path", "an unknown route")
    return f"{request.scope.get('method', 'WebSocket')} {route}"
