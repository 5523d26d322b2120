from typing import Annotated

from fastapi import Depends, FastAPI
from pgqueuer import Queries
from sqlalchemy.ext.asyncio import AsyncSession

from shop import procrastinate_jobs
from shop.database import Order, database
from shop.pgqueuer_driver import SessionDriver

DB = Annotated[AsyncSession, Depends(database.get_db)]

app = FastAPI(lifespan=database.lifespan)


@app.post("/orders/procrastinate", status_code=201)
async def create_order_for_procrastinate(item: str, db: DB) -> int:
    order = Order(item=item)
    db.add(order)
    await db.flush()
    await procrastinate_jobs.pay.configure(connection=db).defer_async(order_id=order.id)
    return order.id


@app.post("/orders/pgqueuer", status_code=201)
async def create_order_for_pgqueuer(item: str, db: DB) -> int:
    order = Order(item=item)
    db.add(order)
    await db.flush()
    await Queries(SessionDriver(db)).enqueue("pay", str(order.id).encode())
    return order.id
