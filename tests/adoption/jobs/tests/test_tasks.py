import taskiq_fastapi

from shop import shared_dependencies, tasks
from shop.app import app
from shop.database import database
from orders import add_order, state_of


async def test_task_commits_before_its_result():
    await tasks.broker.startup()
    order_id = await add_order("tea")
    task = await tasks.confirm.kiq(order_id)
    assert (await task.wait_result(timeout=5)).return_value == "tea"
    assert await state_of(order_id) == "confirmed"
    task = await tasks.confirm.kiq(0)
    assert "No row was found" in str((await task.wait_result(timeout=5)).error)
    await tasks.broker.shutdown()
    assert "not started" in repr(database)


async def test_task_uses_dependencies_of_the_application():
    async with database:
        taskiq_fastapi.populate_dependency_context(shared_dependencies.broker, app)
        for state in ("counted", "counted"):
            await add_order("tea", state)
        task = await shared_dependencies.count_orders.kiq("counted")
        assert (await task.wait_result(timeout=5)).return_value == 2
