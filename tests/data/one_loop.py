"""One event loop and one database for all examples of a test, which Hypothesis calls without a loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import MetaData
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import Database, DatabaseSettings

Work = Callable[[AsyncSession], Awaitable[None]]
Run = Callable[[Work], None]
"""Runs a function with a session."""


@dataclass
class OneLoop:
    """A database that runs, and the loop on which it does."""

    database: Database
    runner: asyncio.Runner

    def write(self, work: Work) -> None:
        """Run a function with a session that commits."""
        self.runner.run(self._write(work))

    def read(self, work: Work) -> None:
        """Run a function with a reading session."""
        self.runner.run(self._read(work))

    async def _write(self, work: Work) -> None:
        async with self.database.session() as session:
            await work(session)

    async def _read(self, work: Work) -> None:
        async with self.database.read_session() as session:
            await work(session)


@contextmanager
def one_loop(url: str, metadata: MetaData) -> Iterator[OneLoop]:
    """Run a database with tables."""
    database = Database(DatabaseSettings(url=url))
    with asyncio.Runner() as runner:
        runner.run(database.start(create_tables=metadata))
        yield OneLoop(database, runner)
        runner.run(database.stop())
