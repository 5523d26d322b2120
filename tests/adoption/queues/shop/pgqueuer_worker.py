from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pgqueuer

from shop.database import database, dsn, pay_order


@asynccontextmanager
async def create_worker() -> AsyncIterator[pgqueuer.PgQueuer]:
    connection = await asyncpg.connect(dsn)
    try:
        worker = pgqueuer.PgQueuer(pgqueuer.AsyncpgDriver(connection))

        @worker.entrypoint("pay")
        async def pay(job: pgqueuer.Job) -> None:
            await pay_order(int(job.payload or b""))

        yield worker
    finally:
        await connection.close()


if __name__ == "__main__":
    database.run(pgqueuer.run, create_worker)
