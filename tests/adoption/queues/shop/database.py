import os

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from fastapi_asyncdb import Base, Database

database = Database()  # DATABASE_URL
dsn = os.environ["DATABASE_URL"]  # postgresql://..., for the workers of the queues


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    item: Mapped[str]
    state: Mapped[str] = mapped_column(default="new")


@database.transactional()
async def pay_order(session: AsyncSession, order_id: int) -> str:
    order = await session.get_one(Order, order_id)
    order.state = "paid"
    return order.item
