from apscheduler.schedulers.asyncio import AsyncIOScheduler
from sqlalchemy import delete

from fastapi_asyncdb import try_advisory_lock
from shop.database import Order, database

scheduler = AsyncIOScheduler()


@scheduler.scheduled_job("interval", minutes=5, id="forget")
async def forget_cancelled_orders() -> None:
    async with database.session() as session:
        if await try_advisory_lock(session, "forget_cancelled_orders"):
            await session.execute(delete(Order).where(Order.state == "cancelled"))
