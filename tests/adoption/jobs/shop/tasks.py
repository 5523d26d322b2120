from sqlalchemy.ext.asyncio import AsyncSession
from taskiq import InMemoryBroker, TaskiqEvents, TaskiqState

from shop.database import Order, database

broker = InMemoryBroker()


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def start(state: TaskiqState) -> None:
    await database.start()


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
async def stop(state: TaskiqState) -> None:
    await database.stop()


@broker.task
@database.transactional()
async def confirm(session: AsyncSession, order_id: int) -> str:
    order = await session.get_one(Order, order_id)
    order.state = "confirmed"
    return order.item
