"""Clients over HTTP, which speak no more of it than the answers of uvicorn need."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from benchmarks.children import answer, arguments
from benchmarks.load import Load, Outcome

TIMEOUT = 60.0
"""Seconds that a client waits for an answer."""
PAUSE = 1.0
"""Seconds that a client waits after a failed request, unless the answer says ``Retry-After``."""
DRAIN = 3.0
"""Seconds for the last answers, more than the shortest pool timeout; later ones do not count."""
RECENT = 5.0
"""Seconds; a stream without an event for longer is as good as closed."""


class Connection:
    """A client's connection, made when it is needed."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._writer: asyncio.StreamWriter | None = None
        self._request = (
            f"{load.method} {load.path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 0\r\n\r\n"
        ).encode()

    async def send(self) -> dict[bytes, bytes]:
        """Send the request and return the head of the answer; the status is under an empty name."""
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._load.port)
        self._writer.write(self._request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        first, *lines = head[:-4].split(b"\r\n")
        headers = dict(line.lower().split(b": ", 1) for line in lines)
        return headers | {b"": first[9:12]}

    async def exchange(self) -> tuple[bool, float]:
        """Send the request, and read the answer: whether it is a 2xx, and how long to pause if not."""
        headers = await self.send()
        await self._reader.readexactly(int(headers[b"content-length"]))
        return headers[b""].startswith(b"2"), float(headers.get(b"retry-after", PAUSE))

    async def event(self) -> bool:
        """Wait for an event of a stream; return whether there was one."""
        return bool(await self._reader.read(65536))

    def close(self) -> None:
        """Close it; the next request makes another."""
        if self._writer is not None:
            self._writer.transport.abort()
            self._writer = None


async def send_requests(load: Load) -> dict[str, Any]:
    """Let all clients send requests."""
    outcome = Outcome(load.seconds)
    until = time.perf_counter() + load.seconds
    left = load.requests

    async def client() -> None:
        nonlocal left
        connection = Connection(load)
        while left > 0 and (sent := time.perf_counter()) < until:
            left -= 1
            good, pause = await _exchange(connection)
            now = time.perf_counter()
            (outcome.answered if good else outcome.failed).append(now - sent)
            outcome.in_time += good and now < until
            if not good:
                await asyncio.sleep(min(pause, max(0, until - now)))
        connection.close()

    clients = [asyncio.create_task(client()) for _ in range(load.clients)]
    timeout = None if load.seconds == math.inf else load.seconds + DRAIN
    done, late = await asyncio.wait(clients, timeout=timeout)
    for task in late:
        task.cancel()
    for task in done:
        task.result()
    return asdict(outcome)


async def _exchange(connection: Connection) -> tuple[bool, float]:
    try:
        async with asyncio.timeout(TIMEOUT):
            return await connection.exchange()
    except (OSError, EOFError, ValueError, KeyError):
        connection.close()
        return False, PAUSE


async def hold_streams(load: Load) -> int:
    """Hold a stream open for each client; return how many are left at the end."""
    latest = [-math.inf] * load.clients
    ended = [False] * load.clients

    async def client(number: int) -> None:
        connection = Connection(load)
        # Not all of them in the same moment of each second.
        await asyncio.sleep(number / load.clients)
        try:
            if (await connection.send())[b""] == b"200":
                while await connection.event():
                    latest[number] = time.perf_counter()
        except (OSError, EOFError):
            pass
        finally:
            ended[number] = True
            connection.close()

    clients = [asyncio.create_task(client(number)) for number in range(load.clients)]
    await asyncio.sleep(load.seconds)
    now = time.perf_counter()
    alive = sum(now - at < RECENT and not end for at, end in zip(latest, ended, strict=True))
    for task in clients:
        task.cancel()
    await asyncio.gather(*clients, return_exceptions=True)
    return alive


KINDS: dict[str, Callable[[Load], Awaitable[Any]]] = {
    "requests": send_requests,
    "streams": hold_streams,
}


async def main() -> None:
    """Do what the parent says, and print what was seen."""
    kind, load = arguments()
    answer(await KINDS[kind](Load(**load)))


if __name__ == "__main__":
    asyncio.run(main())
