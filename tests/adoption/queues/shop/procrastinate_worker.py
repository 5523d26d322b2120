from shop.database import database
from shop.procrastinate_jobs import queue


async def main() -> None:
    async with queue.open_async():
        await queue.run_worker_async()


if __name__ == "__main__":
    database.run(main)
