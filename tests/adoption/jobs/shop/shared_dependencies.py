from collections.abc import AsyncIterator
from typing import Annotated

import taskiq_fastapi
from fastapi import Depends
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from taskiq import InMemoryBroker, TaskiqDepends

from shop.app import DB, app
from shop.database import Order, database

broker = InMemoryBroker()
taskiq_fastapi.init(broker, app)  # runs the application's lifespan in the worker


async def session_of_task() -> AsyncIterator[AsyncSession]:
    async with database.session() as session:
        yield session


broker.dependency_overrides[database.get_db] = session_of_task


class Statistics:
    def __init__(self, db: DB) -> None:
        self.db = db

    async def count(self, state: str) -> int:
        return await self.db.scalar(
            select(func.count()).select_from(Order).where(Order.state == state)
        )


@broker.task
async def count_orders(
    state: str, statistics: Annotated[Statistics, TaskiqDepends(Statistics)]
) -> int:
    return await statistics.count(state)


@app.get("/orders/count")
async def get_count(state: str, statistics: Annotated[Statistics, Depends(Statistics)]) -> int:
    return await statistics.count(state)
