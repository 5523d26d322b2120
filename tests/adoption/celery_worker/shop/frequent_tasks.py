import asyncio

from celery.signals import worker_process_init, worker_process_shutdown

from shop.broker import celery
from shop.database import database, pay_order

runner = asyncio.Runner()


@worker_process_init.connect
def start(**_: object) -> None:
    runner.run(database.start())


@worker_process_shutdown.connect
def stop(**_: object) -> None:
    runner.run(database.stop())
    runner.close()


@celery.task
def pay_often(order_id: int) -> str:
    return runner.run(pay_order(order_id))
