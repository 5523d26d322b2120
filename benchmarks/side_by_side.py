"""Several applications in one process, which are called in turns: for costs that differ by a percent.

Two processes of the same code differ by more than that.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict
from functools import partial
from typing import Any

from fastapi import FastAPI

from benchmarks.caller import Client, measure
from benchmarks.children import Child, Worker, answer_messages, arguments, attempt, keep_output
from benchmarks.contenders import Contender, Pool

TURN = 20
"""Requests to one application, before the next one has its turn."""


class SideBySide(Worker):
    """Start the applications in a process of their own, and call them in turns.

    Args:
        contenders: The applications, and the URL of each.
    """

    def __init__(self, contenders: Mapping[Contender, str]) -> None:
        applications = [[asdict(each), url] for each, url in contenders.items()]
        self._child = Child("side_by_side", applications)

    def cpu(self, method: str, path: str, turns: int) -> dict[str, list[float]]:
        """Return the seconds of CPU of one request, by contender: of each of its turns.

        Raises:
            ChildFailed: a request failed.
        """
        costs: dict[str, list[float]] = self.ask("turns", method, path, turns)
        return costs

    def idle(self, seconds: float) -> float:
        """Return the share of a core that all applications use without requests."""
        return float(self.ask("idle", seconds))


async def turns(
    apps: Mapping[str, FastAPI],
    clients: Mapping[str, Client],
    method: str,
    path: str,
    count: int,
) -> dict[str, list[float]]:
    """Call each application in so many turns, in changing order; its client keeps the cookie."""
    costs: dict[str, list[float]] = {name: [] for name in apps}
    names = list(apps)
    for _ in range(count):
        names = names[1:] + names[:1]
        for name in names:
            cpu, _ = await measure(apps[name], method, path, TURN, clients[name])
            costs[name].append(cpu)
    return costs


async def idle(seconds: float) -> float:
    """Return the share of a core that the process uses while nothing is called."""
    before = time.process_time()
    await asyncio.sleep(seconds)
    return (time.process_time() - before) / seconds


async def serve(apps: Mapping[str, FastAPI]) -> None:
    """Start the applications, and do what the parent says."""
    async with AsyncExitStack() as stack:

        async def start() -> None:
            for app in apps.values():
                await stack.enter_async_context(app.router.lifespan_context(app))

        clients = {name: Client() for name in apps}

        async def work(kind: str, *values: Any) -> Any:
            known: dict[str, Callable[..., Awaitable[Any]]] = {
                "turns": partial(turns, apps, clients),
                "idle": idle,
            }
            return await known[kind](*values)

        await attempt(start())
        await answer_messages(work)


def main() -> None:
    """Create the applications and serve the parent."""
    keep_output()
    (applications,) = arguments()
    logging.disable()
    asyncio.run(serve(create(applications)))


def create(applications: Sequence[Sequence[object]]) -> dict[str, FastAPI]:
    """Return the applications by name."""
    contenders = [(Contender(**each), str(url)) for each, url in applications]  # type: ignore[arg-type]
    return {each.name: each.create_app(url, Pool()) for each, url in contenders}


if __name__ == "__main__":
    main()
