"""An application under load while its database fails over: what its clients were told."""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any

import httpx
from fastapi import Depends, FastAPI
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import Database, DatabaseSettings, install_error_handlers
from fastapi_asyncdb.testing import PostgresReplica, PostgresServer, async_client

TABLE = "CREATE TABLE entry (id int PRIMARY KEY)"


@dataclass
class Answers:
    """What clients were told about the rows that they sent, and about their reads."""

    acknowledged: set[int] = field(default_factory=set)
    in_doubt: set[int] = field(default_factory=set)
    failed: dict[int, str] = field(default_factory=dict)
    """The kind of problem, by the row."""
    reads: int = 0
    failed_reads: Counter[str] = field(default_factory=Counter)
    news: asyncio.Condition = field(default_factory=asyncio.Condition)
    """Notified of each answer."""

    async def writes(self, more: int) -> None:
        """Wait until so many more writes are acknowledged."""
        enough = len(self.acknowledged) + more
        async with self.news:
            await self.news.wait_for(lambda: len(self.acknowledged) >= enough)

    async def good_reads(self, more: int) -> None:
        """Wait until so many more reads have succeeded."""
        enough = self.reads + more
        async with self.news:
            await self.news.wait_for(lambda: self.reads >= enough)

    async def failures(self, more: int) -> None:
        """Wait until so many more writes have failed."""
        enough = len(self.failed) + more
        async with self.news:
            await self.news.wait_for(lambda: len(self.failed) >= enough)

    def lost(self, stored: set[int]) -> set[int]:
        """Return what was acknowledged and is not stored."""
        return self.acknowledged - stored

    def unexpected(self, stored: set[int]) -> set[int]:
        """Return what is stored although its client was told that nothing was."""
        return stored & self.failed.keys()


def application(database: Database) -> FastAPI:
    """Return one that writes a row, and reads."""
    app = FastAPI(lifespan=database.lifespan)
    install_error_handlers(app)

    @app.post("/entries/{number}", status_code=201)
    async def write(number: int, db: Annotated[AsyncSession, Depends(database.get_db)]) -> None:
        await db.execute(text("INSERT INTO entry VALUES (:number)"), {"number": number})

    @app.get("/entries")
    async def read(db: Annotated[AsyncSession, Depends(database.get_read_db)]) -> int:
        return int((await db.execute(text("SELECT 1 FROM entry LIMIT 1"))).scalar() or 0)

    return app


@asynccontextmanager
async def load(
    url: str, *, writers: int = 6, readers: int = 2, **settings: Any
) -> AsyncIterator[Answers]:
    """Run the application and its clients; they stop when the block ends.

    Args:
        url: Of the database, which has the table.
        writers: How many clients write, each one row after the other.
        readers: How many read.
        **settings: Of the ``Database``.
    """
    database = Database(DatabaseSettings(url=url, **settings))
    answers, numbers = Answers(), itertools.count(1)
    async with async_client(application(database), raise_app_exceptions=False) as http:
        work = [*[_write] * writers, *[_read] * readers]
        stopped = asyncio.Event()
        async with asyncio.TaskGroup() as clients:
            for step in work:
                clients.create_task(_repeat(step, stopped, http, answers, numbers))
            try:
                await answers.writes(20)
                yield answers
            finally:
                stopped.set()


Step = Callable[[httpx.AsyncClient, Answers, Iterator[int]], Awaitable[bool]]


async def _repeat(
    step: Step,
    stopped: asyncio.Event,
    http: httpx.AsyncClient,
    answers: Answers,
    numbers: Iterator[int],
) -> None:
    while not stopped.is_set():
        succeeded = await step(http, answers, numbers)
        async with answers.news:
            answers.news.notify_all()
        if not succeeded:
            # As a client does that was refused, though sooner.
            await asyncio.sleep(0.02)


async def _write(http: httpx.AsyncClient, answers: Answers, numbers: Iterator[int]) -> bool:
    number = next(numbers)
    response = await http.post(f"/entries/{number}")
    kind = _kind(response)
    if response.status_code == 201:
        answers.acknowledged.add(number)
    elif kind == "commit-outcome-unknown":
        answers.in_doubt.add(number)
    else:
        answers.failed[number] = kind
    return response.status_code == 201


async def _read(http: httpx.AsyncClient, answers: Answers, numbers: Iterator[int]) -> bool:
    response = await http.get("/entries")
    if response.status_code == 200:
        answers.reads += 1
    else:
        answers.failed_reads[_kind(response)] += 1
    await asyncio.sleep(0.005)
    return response.status_code == 200


def _kind(response: httpx.Response) -> str:
    if response.status_code < 400:
        return ""
    return str(response.json().get("type", response.text)).rpartition(":")[2]


def stored(server: PostgresServer | PostgresReplica) -> set[int]:
    """Return the rows that a server has."""
    ids = server.psql("SELECT string_agg(id::text, ' ') FROM entry")
    return {int(number) for number in ids.split()}
