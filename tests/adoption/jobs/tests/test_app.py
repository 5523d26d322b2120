import asyncio
from datetime import datetime, UTC

import httpx
import pytest
from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_EXECUTED

from shop.app import app, create_order, lifespan
from shop.database import database
from shop.schedule import scheduler
from shop.tasks import broker
from orders import add_order, ids_of, state_of


@pytest.fixture
async def client():
    async with lifespan(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
            yield client


async def ended_job(job_id: str) -> BaseException | None:
    ended: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()

    def end(event) -> None:
        if event.job_id == job_id:
            ended.set_result(getattr(event, "exception", None))

    scheduler.add_listener(end, EVENT_JOB_EXECUTED | EVENT_JOB_ERROR)
    scheduler.modify_job(job_id, next_run_time=datetime.now(UTC))
    try:
        async with asyncio.timeout(5):
            return await ended
    finally:
        scheduler.remove_listener(end)


async def test_task_runs_after_the_commit_and_jobs_run_beside(client: httpx.AsyncClient):
    answer = await client.post("/orders", params={"item": "tea"})
    await broker.wait_all()
    assert await state_of(answer.json()) == "confirmed"

    with pytest.raises(LookupError):
        async with database.session() as session:
            await create_order("nothing", session)
            raise LookupError
    await broker.wait_all()
    assert await ids_of("nothing") == []

    order_id = await add_order("coffee", "cancelled")
    assert await ended_job("forget") is None
    assert await state_of(order_id) is None


async def test_stop_waits_for_the_job_that_runs():
    inside, end = asyncio.Event(), asyncio.Event()
    seen: list[int] = []

    async def slow() -> None:
        async with database.session() as session:
            await session.connection()
            inside.set()
            await end.wait()
            seen.append(1)

    async with lifespan(app):
        scheduler.add_job(slow, id="slow", next_run_time=datetime.now(UTC))
        await inside.wait()
        asyncio.get_running_loop().call_later(0.1, end.set)
    assert seen == [1]
    assert "not started" in repr(database)
