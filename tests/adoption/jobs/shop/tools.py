from fastmcp import FastMCP
from fastmcp.dependencies import Depends
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from shop.database import Order, database

mcp = FastMCP("shop", lifespan=database.lifespan)


@mcp.tool
@database.transactional()
async def cancel(session: AsyncSession, order_id: int) -> str:
    order = await session.get_one(Order, order_id)
    order.state = "cancelled"
    return order.item


@mcp.tool
async def orders(state: str, session: AsyncSession = Depends(database.read_session)) -> list[str]:
    return list(await session.scalars(select(Order.item).where(Order.state == state)))
