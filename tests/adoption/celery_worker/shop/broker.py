import os

from celery import Celery

redis = os.environ["CELERY_BROKER_URL"]
celery = Celery("shop", broker=redis, backend=redis, include=["shop.tasks", "shop.frequent_tasks"])
