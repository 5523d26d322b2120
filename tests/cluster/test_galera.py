"""A cluster whose nodes all take writes: conflicts between nodes come at COMMIT, and are repeated."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Annotated

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI
from sqlalchemy import event, func, insert, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import Database, DatabaseSettings, RetryRoute
from fastapi_asyncdb.testing import MariaDBServer
from tests.support.application import Base, Counter, client
from tests.support.galera import galera_cluster, provider

pytestmark = [
    pytest.mark.skipif(
        provider() is None, reason="galera-4 is not installed: apt-get install galera-4"
    ),
    pytest.mark.timeout(300),
]

ACCOUNTS, MONEY, TRANSFERS = 3, 100, 60


class Patient(RetryRoute):
    """As many attempts as it takes."""

    attempts = 200
    deadline = None


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[MariaDBServer]]:
    """A cluster for all tests."""
    with galera_cluster() as nodes:
        yield nodes


@pytest.fixture(params=["asyncmy", "aiomysql"])
async def databases(
    nodes: list[MariaDBServer], request: pytest.FixtureRequest
) -> AsyncIterator[list[Database]]:
    """A started handle for each node, and accounts that all of them see."""
    async with AsyncExitStack() as stack:
        databases = [
            Database(DatabaseSettings(url=f"mysql+{request.param}:{node.url().partition(':')[2]}"))
            for node in nodes
        ]
        for database in databases:
            await stack.enter_async_context(database)
        async with databases[0].engine.begin() as connection:
            await connection.run_sync(Base.metadata.drop_all)
            await connection.run_sync(Base.metadata.create_all)
            rows = [{"id": number + 1, "value": MONEY} for number in range(ACCOUNTS)]
            await connection.execute(insert(Counter), rows)
        for database in databases[1:]:
            await until_replicated(database)
        yield databases


async def until_replicated(database: Database) -> None:
    """Wait for the accounts."""
    async with asyncio.timeout(30):
        while True:
            try:
                if await total(database) == ACCOUNTS * MONEY:
                    return
            except OperationalError:
                pass  # the table is not there yet
            await asyncio.sleep(0.05)


async def total(database: Database) -> int | None:
    """Return all the money, as a node sees it."""
    async with database.read_session() as session:
        return await session.scalar(select(func.sum(Counter.value)))


def conflicts_at_commit(databases: list[Database]) -> list[str]:
    """Collect the errors of COMMITs."""
    seen: list[str] = []

    def note(context: object) -> None:
        if getattr(context, "statement", "") is None:
            seen.append(str(getattr(context, "original_exception", "")))

    for database in databases:
        event.listen(database.engine.sync_engine, "handle_error", note)
    return seen


async def test_run_in_transaction_repeats_what_another_node_has_refused(databases: list[Database]):
    """Each transfer is done exactly once, whichever node it was sent to; the sum stays."""
    seen = conflicts_at_commit(databases)
    done: list[int] = []

    async def work(session: AsyncSession, number: int) -> int:
        counter = await session.get_one(Counter, number % ACCOUNTS + 1, with_for_update=True)
        counter.value += 1
        return number

    async def transfer(number: int) -> None:
        database = databases[number % len(databases)]
        # Every node adds to the same row.
        done.append(await database.run_in_transaction(work, 3 * number, attempts=200))

    await asyncio.gather(*(transfer(number) for number in range(TRANSFERS)))
    assert sorted(done) == [3 * number for number in range(TRANSFERS)]
    assert any("1213" in error for error in seen)
    for database in databases:
        assert await eventually_total(database, ACCOUNTS * MONEY + TRANSFERS)


async def test_retry_route_repeats_what_another_node_has_refused(databases: list[Database]):
    """No client sees a conflict, and no cent is lost."""
    seen = conflicts_at_commit(databases)
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(client(application(database))) for database in databases
        ]
        responses = await asyncio.gather(
            *(post(clients[number % len(clients)], number) for number in range(TRANSFERS))
        )
    assert {response.status_code for response in responses} == {200}
    assert any("1213" in error for error in seen)
    for database in databases:
        assert await eventually_total(database, ACCOUNTS * MONEY)


def application(database: Database) -> FastAPI:
    """Return an application on one node, that moves coins."""
    router = APIRouter(route_class=Patient)

    @router.post("/{number}")
    async def transfer(number: int, db: Annotated[AsyncSession, Depends(database.get_db)]) -> None:
        async with asyncio.timeout(60):
            rows = await db.scalars(select(Counter).order_by(Counter.id).with_for_update())
            accounts = rows.all()
            accounts[number % ACCOUNTS].value -= 1
            accounts[(number + 1) % ACCOUNTS].value += 1

    app = FastAPI()
    app.include_router(router)
    return app


async def post(http: httpx.AsyncClient, number: int) -> httpx.Response:
    """Send one transfer."""
    return await http.post(f"/{number}", timeout=120)


async def eventually_total(database: Database, expected: int) -> bool:
    """Wait until a node has applied everything."""
    async with asyncio.timeout(30):
        while await total(database) != expected:
            await asyncio.sleep(0.05)
    return True
