"""Clients that write and read without a break, and what they were answered."""

import asyncio
import itertools
import math
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any, Self

import httpx
from fastapi import Depends, FastAPI
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import Database, DatabaseSettings, install_error_handlers
from tests.support.application import Note, client

CLIENTS = 4
"""Of each application."""
PAUSE = 0.02
"""Seconds between two requests of a client."""


UNKNOWN = "500 commit-outcome-unknown"
UNAVAILABLE = "503 database-unavailable"


@dataclass
class Client:
    """A client of one application.

    Args:
        http: Its connection.
        name: Of the application and itself.
        limit: Seconds for an answer.
        reads: Whether it reads instead of writing.
    """

    http: httpx.AsyncClient
    name: str
    limit: float
    reads: bool
    acknowledged: dict[str, float] = field(default_factory=dict)
    """The requests that have succeeded, each with the time at which it was sent."""
    refused: list[str] = field(default_factory=list)
    """Those that have failed for certain, so that nothing may be stored."""
    errors: Counter[str] = field(default_factory=Counter)
    """How many there were of each other answer."""
    slowest: float = 0.0
    """Seconds until the slowest answer."""

    async def run(self) -> None:
        """Send requests, one after the other, until it is cancelled."""
        loop = asyncio.get_running_loop()
        for number in itertools.count():
            sent, text = loop.time(), f"{self.name}-{number}"
            try:
                async with asyncio.timeout(self.limit):
                    response = await self.http.request("GET" if self.reads else "POST", f"/{text}")
            except TimeoutError:
                self.errors["no answer"] += 1
            else:
                self._note(text, sent, response)
            self.slowest = max(self.slowest, loop.time() - sent)
            await asyncio.sleep(PAUSE)

    def _note(self, text: str, sent: float, response: httpx.Response) -> None:
        if response.is_success:
            self.acknowledged[text] = sent
            return
        answer = f"{response.status_code} {response.json()['type'].rpartition(':')[2]}"
        self.errors[answer] += 1
        if answer != UNKNOWN:
            self.refused.append(text)

    def sent_between(self, begin: float, end: float = math.inf) -> list[float]:
        """Return when the successful requests of a period were sent."""
        return [sent for sent in self.acknowledged.values() if begin <= sent < end]


class Load:
    """Applications, each with several clients.

    Args:
        limit: Seconds for an answer.
        **options: Settings of each application.
    """

    def __init__(self, limit: float, **options: Any) -> None:
        self._limit = limit
        self._options = options
        self._stack = AsyncExitStack()
        self.writers: dict[str, list[Client]] = {}
        """Of each application, by its name."""
        self.readers: dict[str, list[Client]] = {}

    async def add(self, name: str, url: str, *, reads: bool = False) -> None:
        """Start an application, and its clients."""
        settings = DatabaseSettings(url=url, **self._options)
        database = await self._stack.enter_async_context(Database(settings))
        http = await self._stack.enter_async_context(client(application(database)))
        tasks = await self._stack.enter_async_context(_cancelled_at_the_end())
        clients = [Client(http, f"{name}-{each}", self._limit, reads) for each in range(CLIENTS)]
        (self.readers if reads else self.writers)[name] = clients
        tasks += [asyncio.create_task(each.run()) for each in clients]

    def clients(self, *, reads: bool | None = None) -> list[Client]:
        """Return the clients: those that write, those that read, or all."""
        of_all = [*self.writers.values(), *self.readers.values()]
        clients = [client for clients in of_all for client in clients]
        return [each for each in clients if reads is None or each.reads is reads]

    async def go_on(self, since: float, number: int) -> None:
        """Wait until each client has sent so many requests after a moment that have succeeded."""
        for each in self.clients():
            while len(each.sent_between(since)) < number:
                await asyncio.sleep(PAUSE)

    def report(self, broken: float, elected: float) -> Iterator[str]:
        """Yield a line for each application."""
        yield f"a new leader after {elected - broken:.1f} s"
        for name, clients in (self.writers | self.readers).items():
            again = max(each.sent_between(elected)[0] for each in clients) - broken
            slowest = max(each.slowest for each in clients)
            errors = " ".join(str(dict(each.errors)) for each in clients)
            yield f"{name}: goes on after {again:.1f} s, slowest answer {slowest:.1f} s; {errors}"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._stack.aclose()


@asynccontextmanager
async def _cancelled_at_the_end() -> AsyncIterator[list[asyncio.Task[None]]]:
    tasks: list[asyncio.Task[None]] = []
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def application(database: Database) -> FastAPI:
    """Return an application that stores notes, and counts them."""
    app = FastAPI()
    install_error_handlers(app)

    @app.post("/{text}", status_code=201)
    async def create(text: str, db: Annotated[AsyncSession, Depends(database.get_db)]) -> int:
        note = Note(text=text)
        db.add(note)
        await db.flush()
        return note.id

    @app.get("/{text}")
    async def count(
        text: str, db: Annotated[AsyncSession, Depends(database.get_read_db)]
    ) -> int | None:
        return await db.scalar(select(func.count()).select_from(Note))

    return app
