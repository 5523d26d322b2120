"""``install_read_your_writes``: the reads of a client that has written see it, replicas or not."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Unpack

from starlette.applications import Starlette
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fastapi_asyncdb.database import Database
from fastapi_asyncdb.default import default_database
from fastapi_asyncdb.engine.client_writes import ClientWrites
from fastapi_asyncdb.engine.runs import Runs
from fastapi_asyncdb.engine.seam import runs_of
from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.signatures import Secret
from fastapi_asyncdb.web.position_headers import CookieOptions, PositionHeaders

_STARTS = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})
"""The messages of ASGI that have the headers of a response."""
_SERVED = "fastapi_asyncdb.read_your_writes"
"""The key of the scope for what serves the request: the ``Runs`` of each name of a cookie or header."""


def install_read_your_writes(
    app: Starlette,
    *,
    secret: Secret | Sequence[Secret],
    database: Database[Any] = default_database,
    cookie: str | None = "asyncdb_written",
    header: str | None = None,
    max_age: int = 600,
    **cookie_options: Unpack[CookieOptions],
) -> None:
    """Let the reads of a client that has written see it: on a replica that has it, or on the primary.

    A response whose request has committed gets a cookie with the position of the commit in the log of
    the primary, which costs it a round trip. The next requests of the client read from replicas that
    have replayed as much. Without replicas there is no cookie. Call it when the application is made;
    for several databases, once for each.

    Args:
        app: The application, FastAPI's or Starlette's; those that are mounted into it are included.
        secret: Signs the cookie; the same in all processes. Of several the first one signs, and what
            the others have signed is read, so that secrets can rotate. At least 16 bytes each.
        database: The ``Database``.
        cookie: The name of the cookie; ``None`` sets none. Each further database of the application
            has a number at its end.
        header: The name of a header with the same text, for clients without cookies: they send that of
            the last response which had it.
        max_age: Seconds for which a position counts. Afterwards a replica that is still further behind
            may serve the client.
        **cookie_options: ``path``, ``domain``, ``secure`` and ``samesite``.

    Raises:
        ConfigurationError: a secret is too short, another argument is invalid, or the application has
            this already for the database.
        RuntimeError: the application has started.
    """
    runs = runs_of(database)
    own: object = _ReadYourWrites
    others = [each.kwargs["runs"] for each in app.user_middleware if each.cls is own]
    if runs in others:
        raise ConfigurationError(
            "install_read_your_writes() was called twice for the same database and application. Leave "
            "one of the two calls out."
        )
    if cookie is not None and others:
        cookie = f"{cookie}_{len(others) + 1}"
    secrets = [secret] if isinstance(secret, Secret) else secret
    headers = PositionHeaders(secrets, cookie, header, max_age, cookie_options)
    app.add_middleware(_ReadYourWrites, runs=runs, headers=headers)


class _ReadYourWrites:
    """The middleware: it serves the application with what the client has written.

    Pure ASGI: it is on the way of each request, and Starlette's ``BaseHTTPMiddleware`` would run the
    application in a task of its own.
    """

    def __init__(self, app: ASGIApp, runs: Runs, headers: PositionHeaders) -> None:
        self._app = app
        self._runs = runs
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_served = scope["type"] in ("http", "websocket")
        if is_served:
            self._refuse_names_of_another(scope)
        if is_served and self._runs.has_replicas():
            writes = ClientWrites(self._headers.read(scope["headers"]))
            with self._runs.clients.serving(writes):
                await self._app(scope, receive, partial(self._send, scope, send, writes))
        else:
            await self._app(scope, receive, send)

    async def _send(self, scope: Scope, send: Send, writes: ClientWrites, message: Message) -> None:
        if writes.has_written and message["type"] in _STARTS:
            position = await self._runs.written_position()
            is_secure = scope["scheme"] in ("https", "wss")
            added = self._headers.write(position, is_secure=is_secure)
            message = {**message, "headers": [*message.get("headers", ()), *added]}
        await send(message)

    def _refuse_names_of_another(self, scope: Scope) -> None:
        """Refuse to overwrite what the application that this one is mounted in has for its database."""
        served: dict[str, Runs] = scope.setdefault(_SERVED, {})
        for name in self._headers.names:
            if served.setdefault(name, self._runs) is not self._runs:
                raise ConfigurationError(
                    f"install_read_your_writes() has the name {name!r} for two databases, in an "
                    "application and in one that is mounted into it: each response would overwrite "
                    "the position of the other. Give one of them another name."
                )
