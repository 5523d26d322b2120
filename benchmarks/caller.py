"""An application that is called in its process, as a server calls it, without a server."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, MutableMapping
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from fastapi import FastAPI

from benchmarks.children import Child, Worker, answer_messages, arguments, attempt, keep_output
from benchmarks.contenders import Contender, Pool

Message = MutableMapping[str, Any]


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
        return Cost(*self.ask(method, path, count))


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

    status, body = 0, b""

    async def send(message: Message) -> None:
        nonlocal status, body
        status = message.get("status", status)
        body += message.get("body", b"")
        if client is not None:
            client.keep(message.get("headers", ()))

    # An unexpected error is sent as 500, and raised.
    await app(scope, receive, send)
    if not 200 <= status < 300:
        raise RequestFailed(f"{method} {path}: {status}")
    return body


async def measure(
    app: FastAPI, method: str, path: str, count: int, client: Client | None = None
) -> tuple[float, list[float]]:
    """Return what so many requests cost, everything but the network to the client."""
    latencies = []
    cpu = time.process_time()
    for _ in range(count):
        started = time.perf_counter()
        await request(app, method, path, client)
        latencies.append(time.perf_counter() - started)
    return (time.process_time() - cpu) / count, latencies


async def serve(app: FastAPI) -> None:
    """Start the application, and do what the parent says."""
    async with AsyncExitStack() as stack:
        lifespan = app.router.lifespan_context(app)

        async def start() -> None:
            await stack.enter_async_context(lifespan)

        await attempt(start())
        await answer_messages(partial(measure, app))


def main() -> None:
    """Create the application and serve the parent."""
    keep_output()
    contender, url, pool = arguments()
    # A failed request is told to the parent, in one line.
    logging.disable()
    asyncio.run(serve(Contender(**contender).create_app(url, Pool(**pool))))


if __name__ == "__main__":
    main()
