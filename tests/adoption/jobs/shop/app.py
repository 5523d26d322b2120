from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import on_commit
from shop.database import Order, database
from shop.schedule import scheduler
from shop.tasks import broker, confirm

DB = Annotated[AsyncSession, Depends(database.get_db)]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with database.lifespan(app):
        await broker.startup()
        scheduler.start()
        try:
            yield
        finally:
            scheduler.pause()  # the stop of the database waits for the job that runs
            await broker.shutdown()
    scheduler.shutdown()


app = FastAPI(lifespan=lifespan)


@app.post("/orders", status_code=201)
async def create_order(item: str, db: DB) -> int:
    order = Order(item=item)
    db.add(order)
    await db.flush()
    on_commit(db, confirm.kiq, order.id)
    return order.id
