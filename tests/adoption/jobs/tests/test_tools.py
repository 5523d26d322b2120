import pytest
from fastmcp import Client, FastMCP
from fastmcp.dependencies import Depends
from fastmcp.exceptions import ToolError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from shop.database import database
from shop.tools import mcp
from orders import add_order, state_of


async def test_tools_of_the_server():
    async with Client(mcp) as client:
        order_id = await add_order("cake")
        for tool in await client.list_tools():
            assert "session" not in str(tool)
        assert (await client.call_tool("cancel", {"order_id": order_id})).data == "cake"
        assert await state_of(order_id) == "cancelled"
        assert "cake" in (await client.call_tool("orders", {"state": "cancelled"})).data
        with pytest.raises(ToolError, match="No row was found"):
            await client.call_tool("cancel", {"order_id": 0})


async def test_commit_that_fails_is_an_error_of_the_tool():
    server = FastMCP("payments", lifespan=database.lifespan)

    @server.tool
    async def pay(order_id: int, session: AsyncSession = Depends(database.session)) -> str:
        await session.execute(text("INSERT INTO payment VALUES (:id)"), {"id": order_id})
        return "paid"

    async with Client(server) as client:
        async with database.session() as session:
            reference = "INTEGER REFERENCES orders (id) DEFERRABLE INITIALLY DEFERRED"
            await session.execute(text(f"CREATE TABLE payment (order_id {reference})"))
        order_id = await add_order("pie")
        assert (await client.call_tool("pay", {"order_id": order_id})).data == "paid"
        with pytest.raises(ToolError, match=r"(?i)foreign key constraint"):
            await client.call_tool("pay", {"order_id": 0})
        async with database.read_session() as session:
            assert (await session.scalars(text("SELECT order_id FROM payment"))).all() == [order_id]
