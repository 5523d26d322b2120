"""An HTTP client of a running application, without a server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from starlette.types import ASGIApp, Message, Scope

from fastapi_asyncdb.errors import MissingExtra
from fastapi_asyncdb.finishing import finish

if TYPE_CHECKING:
    import httpx

logger = logging.getLogger(__name__)


@asynccontextmanager
async def async_client(
    app: ASGIApp,
    *,
    base_url: str = "http://test",
    raise_app_exceptions: bool = True,
    **client_options: Any,
) -> AsyncIterator[httpx.AsyncClient]:
    """Run an application's lifespan, and yield an ``httpx.AsyncClient`` of the application.

    httpx's own ``ASGITransport`` runs no lifespan. This client runs it as a server does: in a task of
    its own, with its state in each request's ``request.state``.

    Args:
        app: Any ASGI application.
        base_url: The URL before paths such as ``/users``.
        raise_app_exceptions: Raise the exception of a handler instead of returning a response 500.
        **client_options: For ``httpx.AsyncClient``: ``headers``, ``cookies``, ``auth``, ...

    Raises:
        MissingExtra: httpx is not installed.
        Exception: the lifespan's own, at its start or at its end.
    """
    try:
        import httpx
    except ImportError as error:
        raise MissingExtra(
            "async_client needs httpx, which is not installed. Run: "
            "pip install 'fastapi-asyncdb[testing]'"
        ) from error

    async with _Lifespan(app) as state:

        async def with_state(scope: Scope, receive: Any, send: Any) -> None:
            await app({**scope, "state": dict(state)}, receive, send)

        transport = httpx.ASGITransport(with_state, raise_app_exceptions=raise_app_exceptions)
        async with httpx.AsyncClient(
            transport=transport, base_url=base_url, **client_options
        ) as client:
            yield client


class _Lifespan:
    """The server's side of the lifespan protocol.

    The lifespan runs in a task of its own, as under a server: AnyIO's cancel scopes and context
    variables must be left in the task that entered them, and the two halves of a fixture may run in two
    tasks. So no context variable that the lifespan sets reaches a request.
    https://asgi.readthedocs.io/en/latest/specs/lifespan.html
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._state: dict[str, Any] = {}
        self._received = 0
        self._sent: dict[str, str] = {}
        self._answered = asyncio.Event()
        self._leaving = asyncio.Event()

    async def __aenter__(self) -> dict[str, Any]:
        self._task = asyncio.create_task(self._run())
        try:
            await self._answered.wait()
            if "lifespan.startup.complete" not in self._sent:
                await self._end()
                logger.warning("%r runs no lifespan.", self._app, exc_info=_failure(self._task))
        except BaseException:
            self._task.cancel()
            await finish(_until_done(self._task))
            _failure(self._task)
            raise
        return self._state

    async def __aexit__(self, *exception: object) -> None:
        self._leaving.set()
        await finish(self._end())

    async def _run(self) -> None:
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self._state,
        }
        try:
            await self._app(scope, self._receive, self._send)
        finally:
            self._answered.set()

    async def _receive(self) -> Message:
        self._received += 1
        if self._received == 1:
            return {"type": "lifespan.startup"}
        if self._received > 2 or "lifespan.startup.failed" in self._sent:
            # No further message comes; an application that waits for one would wait forever.
            self._task.cancel()
            await asyncio.get_running_loop().create_future()
        await self._leaving.wait()
        return {"type": "lifespan.shutdown"}

    async def _send(self, message: Message) -> None:
        self._sent[message["type"]] = message.get("message", "")
        self._answered.set()

    async def _end(self) -> None:
        """Wait for the end of the lifespan, and raise its error."""
        await _until_done(self._task)
        error = _failure(self._task)
        # An application that fails before its first receive() has no lifespan: servers go on.
        if error is not None and (self._received or self._sent):
            raise error
        for step in ("startup", "shutdown"):
            if f"lifespan.{step}.failed" in self._sent:
                reason = self._sent[f"lifespan.{step}.failed"] or "it gives no reason"
                raise RuntimeError(
                    f"The application's {step} failed: {reason}. It reported this itself, instead of "
                    "raising an error that would lead to the line: look into its lifespan."
                )


async def _until_done(task: asyncio.Task[None]) -> None:
    await asyncio.wait([task])


def _failure(task: asyncio.Task[None]) -> BaseException | None:
    """Return the task's exception, and mark it as retrieved."""
    return None if task.cancelled() else task.exception()
