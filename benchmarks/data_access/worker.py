"""One way to read and write rows, in a process of its own, beside statements by hand."""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from benchmarks.children import Child, Worker, answer, answer_messages, arguments, keep_output
from benchmarks.data_access import by_hand
from benchmarks.data_access.products import new_rows, replace_products
from benchmarks.data_access.registry import DataAccess

MEGABYTE = 1024 * 1024


class DataWorker(Worker):
    """Start a process for one way, with an engine and plain sessions of its own."""

    def __init__(self, access: DataAccess, url: str) -> None:
        self._child = Child("data_access.worker", asdict(access), url)

    def sample(self, kind: str, verb: str, *arguments: Any) -> Any:
        """Return what a method of ``Samples`` measures; ``None`` if this way has no such verb."""
        return self.ask(kind, verb, *arguments)


class Samples:
    """What the process measures.

    Args:
        products: Takes a session and has the verbs.
        sessions: Makes sessions.
    """

    def __init__(
        self, products: Callable[[AsyncSession], Any], sessions: async_sessionmaker[AsyncSession]
    ) -> None:
        self._products = products
        self._sessions = sessions

    async def take(self, kind: str, verb: str, *arguments: Any) -> Any:
        """Call one of the methods below, if there is such a verb."""
        if not hasattr(self._products, verb):
            return None
        return await getattr(self, kind)(verb, *arguments)

    async def cpu(self, verb: str, calls: int) -> tuple[float, float]:
        """Return the medians of the CPU seconds of calls, and of the same calls by hand.

        Both in turns: the same code takes up to a tenth more in one process than in another.
        """
        own: list[float] = []
        others: list[float] = []
        turns = [(self._products, own), (by_hand.Products, others)]
        for number in range(1, calls + 1):
            for products, times in turns:
                times.append(await self._time(time.process_time, products, verb, number))
            turns.reverse()
        return statistics.median(own), statistics.median(others)

    async def latency(self, verb: str, offset: int, calls: int) -> float:
        """Return the median of the seconds of calls."""
        return statistics.median(
            [
                await self._time(time.perf_counter, self._products, verb, offset)
                for _ in range(calls)
            ]
        )

    async def walk(self, verb: str, cursor: str, offset: int, calls: int) -> tuple[float, float]:
        """Return the medians of the seconds of the first page and of one further on, in turns.

        Args:
            verb: The method that reads a page.
            cursor: The method that returns the cursor of an offset.
            offset: Where the other page is.
            calls: How many of each.
        """
        async with self._sessions() as session:
            position = await self._call(session, cursor, offset)
        first: list[float] = []
        far: list[float] = []
        for _ in range(calls):
            for where, times in ((None, first), (position, far)):
                times.append(await self._time(time.perf_counter, self._products, verb, where))
        return statistics.median(first), statistics.median(far)

    async def _time(
        self, clock: Callable[[], float], products: Any, verb: str, argument: Any
    ) -> float:
        """Time one call, in a new session that has its connection already."""
        async with self._sessions() as session:
            await session.connection()
            started = clock()
            await getattr(products(session), verb)(argument)
            return clock() - started

    async def seconds(self, verb: str, rows: int) -> float:
        """Return the seconds of a transaction with many rows; of an upsert's, half are there already."""
        await self._replace(rows // 2 if verb == "upsert_many" else 0)
        data = list(new_rows(rows))
        gc.collect()
        started = time.perf_counter()
        async with self._sessions.begin() as session:
            await self._call(session, verb, data)
        return time.perf_counter() - started

    async def peak(self, verb: str, rows: int) -> float:
        """Return the MB that many rows from a generator need at the same time."""
        await self._replace(0)
        gc.collect()
        tracemalloc.start()
        try:
            async with self._sessions.begin() as session:
                await self._call(session, verb, new_rows(rows))
            return tracemalloc.get_traced_memory()[1] / MEGABYTE
        finally:
            tracemalloc.stop()

    async def _call(self, session: AsyncSession, verb: str, argument: Any) -> Any:
        return await getattr(self._products(session), verb)(argument)

    async def _replace(self, count: int) -> None:
        async with self._sessions.begin() as session:
            await replace_products(session, count)


async def serve(products: type[Any], url: str) -> None:
    """Take samples, as the parent says."""
    engine = create_async_engine(url)
    samples = Samples(products, async_sessionmaker(engine, expire_on_commit=False))
    answer(["started", None])
    await answer_messages(samples.take)


def main() -> None:
    """Import the way and serve the parent."""
    keep_output()
    access, url = arguments()
    asyncio.run(serve(DataAccess(**access).products(), url))


if __name__ == "__main__":
    main()
