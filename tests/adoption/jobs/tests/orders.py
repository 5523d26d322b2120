from sqlalchemy import select

from shop.database import Order, database


async def add_order(item: str, state: str = "new") -> int:
    async with database.session() as session:
        order = Order(item=item, state=state)
        session.add(order)
        await session.flush()
        return order.id


async def state_of(order_id: int) -> str | None:
    async with database.read_session() as session:
        return await session.scalar(select(Order.state).where(Order.id == order_id))


async def ids_of(item: str) -> list[int]:
    async with database.read_session() as session:
        return list(await session.scalars(select(Order.id).where(Order.item == item)))
