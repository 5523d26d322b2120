"""Who holds a connection for too long. Watches and tells; takes nothing away."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from types import CodeType, FrameType
from typing import Any

logger = logging.getLogger(__name__)

# Frames of the library and of what it stands on say nothing about who is to blame.
_OURS = ("fastapi_asyncdb.", "sqlalchemy.", "fastapi.", "starlette.", "contextlib", "asyncio.")
_TOLD = 3
_DEPTH = 12

Frames = list[tuple[CodeType, int, str]]
"""Code, line and module of the callers, the innermost first."""


class HoldWatch:
    """Warn once if a connection is still held when the time is up.

    Args:
        seconds: How long is too long; 0 is never.
        request: The request's connection, or ``None`` outside of requests.
    """

    def __init__(self, seconds: float, request: Any = None) -> None:
        self.seconds = seconds
        self.request = request
        self._frames: Frames = []
        self._since = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def approach(self) -> None:
        """Note who is about to take a connection: in the greenlet that takes it, nobody can tell."""
        if self.seconds and self._timer is None:
            self._frames = _frames(sys._getframe(2))

    def take(self) -> None:
        """Start to wait."""
        if self.seconds and self._timer is None:
            self._since = time.monotonic()
            self._timer = asyncio.get_running_loop().call_later(self.seconds, self._warn)

    def give_back(self) -> None:
        """Stop to wait."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _warn(self) -> None:
        users = [frame for frame in self._frames if not frame[2].startswith(_OURS)]
        where = " < ".join(
            f"{code.co_filename}:{line} in {code.co_qualname}" for code, line, _ in users[:_TOLD]
        )
        logger.warning(
            "%s has held a database connection for %.1f s. It was taken at %s. A pool has few: end "
            "the transaction before slow work, with 'await db.commit()'.",
            _name(self.request),
            time.monotonic() - self._since,
            where or "the end of the transaction",
        )


def _frames(frame: FrameType | None) -> Frames:
    """Note the frames and no more: they are looked at only if there is something to tell."""
    found: Frames = []
    while frame is not None and len(found) < _DEPTH:
        found.append((frame.f_code, frame.f_lineno, frame.f_globals.get("__name__", "")))
        frame = frame.f_back
    return found


def _name(request: Any) -> str:
    """Return the method and the route; never the path, which may hold secrets."""
    if request is None:
        return "A session outside of requests"
    route = getattr(request.scope.get("route"), "path", "an unknown route")
    return f"{request.scope.get('method', 'WebSocket')} {route}"
