from shop.broker import celery
from shop.database import database, pay_order


@celery.task
def pay(order_id: int) -> str:
    return database.run(pay_order, order_id)
