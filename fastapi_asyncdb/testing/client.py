"""An HTTP client of a running application, without a server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from starlette.types import ASGIApp, Message, Scope

from fastapi_asyncdb.errors import MissingExtra
from fastapi_asyncdb.finishing import finish

if TYPE_CHECKING:
    import httpx
    from fastapi.testclient import TestClient

logger = logging.getLogger(__name__)


class ClientOptions(TypedDict, total=False):
    """The options of ``httpx.AsyncClient`` that mean something without a network.

    https://www.python-httpx.org/api/#asyncclient
    """

    auth: tuple[str | bytes, str | bytes] | Callable[[httpx.Request], httpx.Request] | httpx.Auth
    params: Mapping[str, Any] | Sequence[tuple[str, Any]] | str | bytes
    headers: httpx.Headers | Mapping[str, str] | Sequence[tuple[str, str]]
    cookies: httpx.Cookies | Mapping[str, str] | Sequence[tuple[str, str]]
    timeout: float | httpx.Timeout | None
    follow_redirects: bool
    max_redirects: int
    event_hooks: Mapping[str, list[Callable[..., Any]]]
    default_encoding: str | Callable[[bytes], str]


class AsyncClientOptions(ClientOptions, total=False):
    """All options of ``async_client``: what the fixture ``asyncdb_client_options`` returns."""

    base_url: str
    raise_app_exceptions: bool


@asynccontextmanager
async def async_client(
    app: ASGIApp,
    *,
    base_url: str = "http://test",
    raise_app_exceptions: bool = True,
    **client_options: Unpack[ClientOptions],
) -> AsyncIterator[httpx.AsyncClient]:
    """Run an application's lifespan, and yield an ``httpx.AsyncClient`` of the application.

    httpx's own ``ASGITransport`` runs no lifespan. This client runs it as a server does: in a task of
    its own, with its state in each request's ``request.state``. Where httpx is not installed and httpx2
    is, the client is an ``httpx2.AsyncClient``.

    Args:
        app: Any ASGI application.
        base_url: The URL before paths such as ``/users``.
        raise_app_exceptions: Raise the exception of a handler instead of returning a response 500.
        **client_options: For ``httpx.AsyncClient``: ``headers``, ``cookies``, ``auth``, ...

    Raises:
        MissingExtra: neither httpx nor httpx2 is installed.
        Exception: the lifespan's own, at its start or at its end.
    """
    http = _httpx()
    async with _Lifespan(app) as state:

        async def with_state(scope: Scope, receive: Any, send: Any) -> None:
            await app({**scope, "state": dict(state)}, receive, send)

        transport = http.ASGITransport(with_state, raise_app_exceptions=raise_app_exceptions)
        async with http.AsyncClient(
            transport=transport, base_url=base_url, **client_options
        ) as client:
            yield client


def test_client(app: Any, options: AsyncClientOptions) -> TestClient:
    """Return a ``TestClient`` with the options of an ``async_client``.

    Raises:
        TypeError: TestClient has no such option: it takes ``base_url``, ``headers``, ``cookies``,
            ``follow_redirects``.
    """
    # Imported late: without httpx2 it warns.
    from fastapi.testclient import TestClient

    arguments: dict[str, Any] = {**options}
    if "raise_app_exceptions" in arguments:
        arguments["raise_server_exceptions"] = arguments.pop("raise_app_exceptions")
    return TestClient(app, **arguments)


def _httpx() -> ModuleType:
    """Return httpx, or httpx2, its successor, which Starlette's TestClient prefers."""
    for name in ("httpx", "httpx2"):
        try:
            return import_module(name)
        except ImportError as error:
            missing = error
    raise MissingExtra(
        "async_client needs httpx or httpx2, and neither is installed. Run: "
        "pip install 'fastapi-asyncdb[testing]'"
    ) from missing


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
