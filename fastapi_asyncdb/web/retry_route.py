"""``RetryRoute``: runs a whole request again after a conflict.

Nothing has been sent before the commit, and a conflict has rolled everything back: the request may
simply start again, from its dependencies on.
"""

from __future__ import annotations

import asyncio
from inspect import isasyncgenfunction, isgeneratorfunction
from typing import Any

from fastapi.routing import APIRoute
from starlette.types import Message, Receive, Scope, Send

from fastapi_asyncdb.dependencies import CONFLICT
from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.session.retry import Attempts


class RetryRoute(APIRoute):
    """Run the request again when a statement or its commit met a serialization failure or deadlock.

    ``APIRouter(route_class=RetryRoute)``. The handler and its dependencies run from the start, with
    the same body; hooks and background tasks of the attempt that failed are dropped. So what they do
    outside the database must be repeatable, or belong into ``on_commit``. Streamed responses are
    refused, since they have begun before their work is done. To change the class attributes, make a
    subclass.
    """

    attempts = 10
    """How often to run it altogether."""
    deadline: float | None = 30.0
    """Seconds after which no further attempt starts; ``None`` is no limit."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        Attempts(self.attempts, self.deadline)
        if isgeneratorfunction(self.endpoint) or isasyncgenfunction(self.endpoint):
            raise ConfigurationError(f"{self.path}: {_STREAMS}")

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the request, until an attempt has no conflict or is the last."""
        tries = Attempts(self.attempts, self.deadline)
        body = _Replay(receive)
        while True:
            attempt = _Attempt(dict(scope), send, tries)
            try:
                return await super().handle(attempt.scope, body.receive, attempt.send)
            except Exception:
                # Either the application has no handler for it, or its response was held back.
                delay = attempt.delay()
                if delay is None:
                    raise
            await asyncio.sleep(delay)
            body.rewind()


_STREAMS = (
    "A RetryRoute streams its response. A stream has begun before its work is done, so it cannot be run "
    "again: move this route to a router without RetryRoute."
)


class _HeldBack(Exception):
    """Stop a response that must not be sent, since the request runs again."""


class _Attempt:
    """One run of the request; its response is held back until it is known to be the last."""

    def __init__(self, scope: Scope, send: Send, tries: Attempts) -> None:
        self.scope = scope
        self._send = send
        self._tries = tries
        self._start: Message | None = None
        self._judged = False
        self._delay: float | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            if self.delay() is not None:
                raise _HeldBack
            self._start = message
            return
        if self._start is not None:
            if message.get("more_body"):
                raise ConfigurationError(_STREAMS)
            start, self._start = self._start, None
            await self._send(start)
        await self._send(message)

    def delay(self) -> float | None:
        """Return the seconds until the next run; ``None`` if there is no conflict, or no next run.

        Decided once, when the response starts or the run fails, whichever is first.
        """
        if not self._judged:
            self._judged = True
            conflict = self.scope.get(CONFLICT)
            self._delay = None if conflict is None else self._tries.delay_after(conflict)
        return self._delay


class _Replay:
    """The messages of the client: received once, and read by every attempt."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._messages: list[Message] = []
        self._position = 0

    async def receive(self) -> Message:
        if self._position == len(self._messages):
            self._messages.append(await self._receive())
        self._position += 1
        return self._messages[self._position - 1]

    def rewind(self) -> None:
        self._position = 0
