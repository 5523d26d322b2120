"""T15: one session does one thing at a time, and says who came in between."""

import asyncio
from typing import Annotated

import pytest
from fastapi import Depends, FastAPI
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import Database
from fastapi_asyncdb.errors import ConcurrentSessionUse
from tests.contract.support import Note, Request, checked_out, stored


async def read(session: AsyncSession) -> int:
    """Count the notes."""
    return await session.scalar(select(func.count()).select_from(Note)) or 0


async def test_gather_on_one_session_names_both_tasks(database: Database):
    """The classical mistake is an error, on every driver, and tells the two tasks apart (T15)."""
    results: list[asyncio.Task[int]] = []
    with pytest.raises(ConcurrentSessionUse, match=r"second \(read\).*first \(read\)"):
        async with database.session() as session:
            await read(session)  # with a connection in hand; without one below
            results.append(asyncio.create_task(read(session), name="first"))
            results.append(asyncio.create_task(read(session), name="second"))
            await asyncio.gather(*results)
    assert await results[0] == 0
    assert checked_out(database) == 0


async def test_gather_before_the_first_statement(database: Database):
    """The mistake is seen even before the session has a connection (T15)."""
    async with database.session() as session:
        results = await asyncio.gather(read(session), read(session), return_exceptions=True)
    assert [type(result) for result in results] == [int, ConcurrentSessionUse]


async def test_gather_in_a_request_is_one_error_response(database: Database):
    """The task that was first ends its statement, then all is rolled back; nothing leaks (T15)."""
    app = FastAPI()

    @app.post("/")
    async def endpoint(db: Annotated[AsyncSession, Depends(database.get_db)]) -> None:
        db.add(Note(text="lost"))
        await db.flush()
        await asyncio.gather(read(db), read(db))

    request = Request(app, "/", "POST")
    with pytest.raises(ConcurrentSessionUse):
        await request.run()
    assert request.status == 500
    assert await stored(database) == []


async def test_task_left_behind_by_the_handler_is_noticed(database: Database):
    """A handler that returns while its own task is still using the session gets an error (T15)."""
    app = FastAPI()
    tasks: list[asyncio.Task[int]] = []

    @app.post("/")
    async def endpoint(db: Annotated[AsyncSession, Depends(database.get_db)]) -> None:
        db.add(Note(text="lost"))
        await db.flush()
        tasks.append(asyncio.create_task(read(db)))
        await asyncio.sleep(0)  # the task is in the middle of its call now

    request = Request(app, "/", "POST")
    with pytest.raises(ConcurrentSessionUse):
        await request.run()
    await asyncio.wait(tasks)
    assert await stored(database) == []


async def test_one_task_after_another_is_legal(database: Database):
    """Streams and timeouts run in tasks of their own: one after the other is fine (T15)."""
    async with database.session() as session:
        session.add(Note(text="kept"))
        assert await asyncio.create_task(read(session)) == 1
        assert await asyncio.wait_for(read(session), 5) == 1
        assert await read(session) == 1
    assert await stored(database) == ["kept"]


async def test_session_is_free_again_after_an_error(database: Database):
    """A call that fails or is cancelled leaves the session to the next task (T15)."""
    async with database.session() as session:
        with pytest.raises(Exception, match="nowhere"):
            await session.execute(text("SELECT * FROM nowhere"))
        await session.rollback()
        assert await asyncio.create_task(read(session)) == 0
