"""An application that is called in its process, as a server calls it, without a server."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from typing import Any

from fastapi import FastAPI

from benchmarks.children import Child, Worker, answer_messages, arguments, attempt, keep_output
from benchmarks.contenders import Contender, Pool

Message = MutableMapping[str, Any]
MEGABYTE = 1024 * 1024


class RequestFailed(Exception):
    """The application did not answer with 2xx."""


@dataclass(frozen=True)
class Cost:
    """What a number of requests cost."""

    cpu: float
    """Seconds of CPU of one request."""
    latencies: list[float]
    """Seconds of each request."""


class Caller(Worker):
    """Start an application in a process of its own, and have it call itself."""

    def __init__(self, contender: Contender, url: str, pool: Pool | None = None) -> None:
        self._child = Child("caller", asdict(contender), url, asdict(pool or Pool()))

    def call(self, method: str, path: str, count: int) -> Cost:
        """Send requests, one after the other.

        Raises:
            ChildFailed: one of them failed.
        """
        return Cost(*self.ask("cost", method, path, count))

    def peak(self, method: str, path: str) -> float:
        """Return the MB that Python allocates for a request at most, at a time.

        Raises:
            ChildFailed: it failed.
        """
        return float(self.ask("peak", method, path))

    def body(self, method: str, path: str) -> str:
        """Return the body of an answer.

        Raises:
            ChildFailed: the request failed.
        """
        return str(self.ask("body", method, path))


@dataclass
class Client:
    """What the client of an application keeps."""

    cookie: bytes = b""
    """The last one that the application has set."""

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return those of a request."""
        return [(b"cookie", self.cookie)] if self.cookie else []

    def keep(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Keep the cookie of a response."""
        for name, value in headers:
            if name.lower() == b"set-cookie":
                self.cookie = value.partition(b";")[0]


async def request(app: FastAPI, method: str, path: str, client: Client | None = None) -> bytes:
    """Call an application as a server does; return the body.

    Raises:
        RequestFailed: its answer is not 2xx.
    """
    parts: list[bytes] = []
    await send(app, method, path, client, parts.append)
    return b"".join(parts)


async def send(
    app: FastAPI,
    method: str,
    path: str,
    client: Client | None = None,
    keep: Callable[[bytes], object] = len,
) -> None:
    """Call an application as a server does.

    Args:
        app: The application.
        method: Of the request.
        path: Of the request.
        client: Has the cookie, and keeps the one of the response.
        keep: Gets the parts of the body; by default nothing keeps them.

    Raises:
        RequestFailed: its answer is not 2xx.
    """
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "headers": [] if client is None else client.headers(),
        "state": {},
    }

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    status = 0

    async def receive_back(message: Message) -> None:
        nonlocal status
        status = message.get("status", status)
        keep(message.get("body", b""))
        if client is not None:
            client.keep(message.get("headers", ()))

    # An unexpected error is sent as 500, and raised.
    await app(scope, receive, receive_back)
    if not 200 <= status < 300:
        raise RequestFailed(f"{method} {path}: {status}")


async def measure(
    app: FastAPI, method: str, path: str, count: int, client: Client | None = None
) -> tuple[float, list[float]]:
    """Return what so many requests cost, everything but the network to the client."""
    latencies = []
    cpu = time.process_time()
    for _ in range(count):
        started = time.perf_counter()
        await send(app, method, path, client)
        latencies.append(time.perf_counter() - started)
    return (time.process_time() - cpu) / count, latencies


async def peak(app: FastAPI, method: str, path: str) -> float:
    """Return the MB that Python allocates for a request, at most at a time."""
    await send(app, method, path)
    gc.collect()
    tracemalloc.start()
    try:
        await send(app, method, path)
        return tracemalloc.get_traced_memory()[1] / MEGABYTE
    finally:
        tracemalloc.stop()


async def body(app: FastAPI, method: str, path: str) -> str:
    """Return the body of an answer."""
    return (await request(app, method, path)).decode()


KINDS: dict[str, Callable[..., Awaitable[Any]]] = {"cost": measure, "peak": peak, "body": body}


async def serve(app: FastAPI) -> None:
    """Start the application, and do what the parent says."""
    async with AsyncExitStack() as stack:
        lifespan = app.router.lifespan_context(app)

        async def start() -> None:
            await stack.enter_async_context(lifespan)

        async def work(kind: str, *values: Any) -> Any:
            return await KINDS[kind](app, *values)

        await attempt(start())
        await answer_messages(work)


def main() -> None:
    """Create the application and serve the parent."""
    keep_output()
    contender, url, pool = arguments()
    # A failed request is told to the parent, in one line.
    logging.disable()
    asyncio.run(serve(Contender(**contender).create_app(url, Pool(**pool))))


if __name__ == "__main__":
    main()
