import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pgqueuer
import pytest
from pgqueuer.types import QueueExecutionMode
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from fastapi_asyncdb.errors import TransactionAborted
from shop import procrastinate_jobs
from shop.app import app, create_order_for_pgqueuer, create_order_for_procrastinate
from shop.database import Order, database
from shop.pgqueuer_worker import create_worker

pytestmark = pytest.mark.usefixtures("_driver")


async def work_with_procrastinate() -> None:
    async with procrastinate_jobs.queue.open_async():
        await procrastinate_jobs.queue.run_worker_async(
            wait=False, listen_notify=False, install_signal_handlers=False
        )


async def work_with_pgqueuer() -> None:
    await pgqueuer.run(create_worker, mode=QueueExecutionMode.drain, shutdown=asyncio.Event())


QUEUES = [
    pytest.param(
        "procrastinate",
        "SELECT count(*) FROM procrastinate_jobs WHERE status = 'todo'",
        work_with_procrastinate,
        id="procrastinate",
    ),
    pytest.param(
        "pgqueuer",
        "SELECT count(*) FROM pgqueuer WHERE status = 'queued'",
        work_with_pgqueuer,
        id="pgqueuer",
    ),
]


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app)
    async with database, httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
        yield client


async def scalar(statement: str) -> object:
    async with database.read_session() as session:
        return await session.scalar(text(statement))


@pytest.mark.parametrize(("queue", "count", "work"), QUEUES)
async def test_job_is_committed_with_the_row(
    queue: str, count: str, work: Callable[[], Awaitable[None]], client: httpx.AsyncClient
):
    create = {
        "procrastinate": create_order_for_procrastinate,
        "pgqueuer": create_order_for_pgqueuer,
    }[queue]
    with pytest.raises(LookupError):
        async with database.session() as session:
            await create("nothing", session)
            raise LookupError
    assert await scalar(count) == 0

    answer = await client.post(f"/orders/{queue}", params={"item": "tea"})
    assert await scalar(count) == 1
    await work()
    assert await scalar(count) == 0
    async with database.read_session() as session:
        state = await session.scalar(select(Order.state).where(Order.id == answer.json()))
    assert state == "paid"


async def test_job_that_fails_and_is_caught_fails_the_commit(client: httpx.AsyncClient):
    pay = procrastinate_jobs.pay
    async with database.session() as session:
        job = pay.configure(connection=session, queueing_lock="once")
        await job.defer_async(order_id=0)
        await session.rollback()  # no job
    with pytest.raises(TransactionAborted):
        async with database.session() as session:
            job = pay.configure(connection=session, queueing_lock="once")
            await job.defer_async(order_id=0)
            with pytest.raises(DBAPIError, match="queueing_lock"):
                await job.defer_async(order_id=0)
    assert await scalar("SELECT count(*) FROM procrastinate_jobs WHERE status = 'todo'") == 0
