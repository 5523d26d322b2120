"""``gather()``: a few reads side by side, each with a connection of its own, cancelled together."""

import asyncio
from functools import partial
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import Database, DatabaseSettings
from fastapi_asyncdb.errors import ConfigurationError, ReadOnlySession
from fastapi_asyncdb.testing import sandbox
from tests.support.application import Base, Note, checked_out, eventually
from tests.support.cancelling import slow_query
from tests.support.databases import EVERY_KIND


async def number(session: AsyncSession, value: int = 1) -> int:
    """Read a number."""
    return await session.scalar(text("SELECT CAST(:value AS INTEGER)"), {"value": value}) or 0


@pytest.mark.databases(*EVERY_KIND)
async def test_results_come_in_the_order_of_the_arguments(database: Database):
    """As a tuple, whatever is done first; nothing is checked out afterwards."""
    first, second = await database.gather(partial(number, value=1), partial(number, value=2))
    assert (first, second) == (1, 2)
    many = [partial(number, value=value) for value in range(20)]
    assert await database.gather(*many) == tuple(range(20))
    assert await database.gather() == ()
    assert checked_out(database) == 0


async def test_reads_run_at_the_same_time(database: Database):
    """Each waits for the other, on a connection of its own."""
    barrier, seen = asyncio.Barrier(3), set()

    async def meet(session: AsyncSession) -> None:
        connection = await session.connection()
        seen.add((await connection.get_raw_connection()).driver_connection)
        await barrier.wait()

    async with asyncio.timeout(10):
        await database.gather(meet, meet, meet)
    assert len(seen) == 3


@pytest.mark.parametrize(("options", "most"), [({}, 2), ({"limit": 3}, 3), ({"limit": 1}, 1)])
async def test_number_at_the_same_time_is_limited(
    database_url: str, options: dict[str, Any], most: int
):
    """By pool_size, so that the overflow is left to others; or by the argument."""
    running, highest = 0, 0

    async def read(session: AsyncSession) -> None:
        nonlocal running, highest
        running += 1
        highest = max(highest, running)
        await number(session)
        await asyncio.sleep(0.01)
        running -= 1

    settings = DatabaseSettings(url=database_url, pool_size=2, max_overflow=3)
    async with Database(settings) as database:
        await database.gather(*[read] * 12, **options)
    assert highest == most


async def test_first_failure_cancels_the_others(database: Database):
    """And is raised itself, when they have ended: no group, no context of the library's."""
    connected: list[bool] = []
    cancelled: list[bool] = []

    async def slow(session: AsyncSession) -> None:
        await session.connection()
        connected.append(True)
        try:
            await session.execute(text(slow_query(database)))
        except BaseException:
            cancelled.append(True)
            raise

    async def fail(session: AsyncSession) -> None:
        await eventually(lambda: len(connected) == 2)
        raise LookupError("no such row")

    with pytest.raises(LookupError, match="no such row") as caught:
        await database.gather(slow, slow, fail)
    assert caught.value.__context__ is None
    assert cancelled == [True, True]
    assert checked_out(database) == 0


async def test_failure_of_a_statement_is_itself(database: Database):
    """An ``except`` clause for it works as around one read."""

    async def broken(session: AsyncSession) -> None:
        await session.execute(text("SELECT * FROM nothing"))

    with pytest.raises(DBAPIError):
        await database.gather(number, broken)


async def test_cancellation_ends_all(database: Database):
    """The caller's cancellation goes to each read, and no connection stays in use."""
    connected: list[bool] = []

    async def read(session: AsyncSession) -> None:
        await session.connection()
        connected.append(True)
        await session.execute(text(slow_query(database)))

    task = asyncio.create_task(database.gather(read, read))
    await eventually(lambda: len(connected) == 2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert checked_out(database) == 0


async def test_writes_are_refused(database: Database):
    """There is no transaction that could undo one when another read fails."""
    await database.start(create_tables=Base.metadata)

    async def write(session: AsyncSession) -> None:
        session.add(Note(text="x"))
        await session.flush()

    with pytest.raises(ReadOnlySession):
        await database.gather(number, write)
    await database.stop()


async def test_sandbox_runs_one_after_the_other(database: Database):
    """Its sessions share one connection; the reads see what the test has committed."""
    async with sandbox(database) as session:
        session.add(Note(id=7, text="seen"))
        await session.commit()

        async def read(session: AsyncSession) -> Any:
            return await session.scalar(text("SELECT id FROM note"))

        assert await database.gather(read, read, read) == (7, 7, 7)


async def test_mistakes_are_explained(database: Database):
    """A limit that lets nothing run, and a result in place of a function."""
    with pytest.raises(ConfigurationError, match="at least 1"):
        await database.gather(number, limit=0)
    with pytest.raises(TypeError, match="a function that gets a session"):
        await database.gather(1)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
