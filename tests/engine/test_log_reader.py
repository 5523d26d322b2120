"""Questions for the position of a server, which requests share."""

import asyncio

from sqlalchemy.ext.asyncio import AsyncEngine

from fastapi_asyncdb import Database, DatabaseSettings
from fastapi_asyncdb.engine.log_reader import LogReader
from fastapi_asyncdb.engine.seam import runs_of
from tests.support.application import eventually

SLOW = "SELECT CAST(txid_current() AS bigint) FROM pg_sleep(1)"
FAST = "SELECT nextval('log_reader_test')"


async def under_way(reader: LogReader) -> None:
    """Wait until the question of several callers was sent; a task that looks rarely would miss it."""
    async with asyncio.timeout(10):
        while reader._next is None:
            await asyncio.sleep(0)
        while reader._next is not None:
            await asyncio.sleep(0)


async def test_reader_that_is_disposed_of_cancels_no_caller(driver_url: str):
    """The question that is under way is answered, the next ones are not; no task is left behind."""
    settings = DatabaseSettings(url=driver_url)
    async with Database(settings) as database:
        reader = LogReader(runs_of(database).required(), settings, SLOW)
        first = asyncio.create_task(reader.read_shared())
        await eventually(reader._turn.locked)
        others = [asyncio.create_task(reader.read_shared()) for _ in range(3)]
        await eventually(lambda: reader._next is not None)
        await reader.dispose()
        assert isinstance(await first, int)
        assert await asyncio.gather(*others) == [None] * 3
        assert not reader._shared
        assert reader._connection is None


async def test_caller_that_is_cancelled_leaves_the_question_to_the_others(driver_url: str):
    """And a question that was sent before a call is not shared with it."""
    settings = DatabaseSettings(url=driver_url)
    async with Database(settings) as database:
        engine: AsyncEngine = database.engine
        async with engine.begin() as connection:
            await connection.exec_driver_sql("CREATE SEQUENCE log_reader_test")
        reader = LogReader(runs_of(database).required(), settings, FAST)
        try:
            calls = [asyncio.create_task(reader.read_shared()) for _ in range(4)]
            await under_way(reader)
            late = asyncio.create_task(reader.read_shared())
            calls[1].cancel()
            answers = [calls[0], *calls[2:], late]
            assert await asyncio.gather(*answers) == [1, 2, 2, 3]
        finally:
            await reader.dispose()
            async with engine.begin() as connection:
                await connection.exec_driver_sql("DROP SEQUENCE log_reader_test")


async def test_connection_that_was_lost_is_replaced(driver_url: str):
    """A question does not fail because of it, and costs no ping before."""
    settings = DatabaseSettings(url=driver_url)
    async with Database(settings) as database:
        reader = LogReader(runs_of(database).required(), settings, "SELECT pg_backend_pid()")
        try:
            first, again = await reader.read(), await reader.read()
            assert first == again
            async with database.engine.connect() as connection:
                await connection.exec_driver_sql(f"SELECT pg_terminate_backend({first}, 10000)")
            other = await reader.read()
            assert isinstance(other, int)
            assert other not in (-1, first)
        finally:
            await reader.dispose()


async def test_server_without_a_position(driver_url: str):
    """The primary is a standby now: it knows of no commit."""
    settings = DatabaseSettings(url=driver_url)
    async with Database(settings) as database:
        reader = LogReader(runs_of(database).required(), settings, "SELECT NULL")
        try:
            assert [await reader.read(), await reader.read()] == [-1, -1]
        finally:
            await reader.dispose()
