import pytest

from shop.database import Order, database
from shop.frequent_tasks import pay_often
from shop.tasks import pay


async def add_orders(count: int) -> list[int]:
    async with database.session() as session:
        orders = [Order(item=f"tea {number}") for number in range(count)]
        session.add_all(orders)
        await session.flush()
        return [order.id for order in orders]


async def state_of(order_id: int) -> str | None:
    async with database.read_session() as session:
        return (await session.get_one(Order, order_id)).state


@pytest.mark.parametrize("task", [pay, pay_often])
def test_tasks_of_both_kinds(task, worker: None):
    order_ids = database.run(add_orders, 6)
    results = [task.delay(order_id) for order_id in order_ids]
    assert [result.get(timeout=20) for result in results] == [f"tea {n}" for n in range(6)]
    assert {database.run(state_of, order_id) for order_id in order_ids} == {"paid"}
