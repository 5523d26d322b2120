import json
from typing import Any

from procrastinate import App, PsycopgConnector
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from shop.database import dsn, pay_order


class SessionConnector(PsycopgConnector):
    """Defers jobs in the transaction of a session: ``task.configure(connection=session)``."""

    async def execute_query_all_async_with_connection(
        self, connection: AsyncSession, query: str, **arguments: Any
    ) -> list[dict[str, Any]]:
        job = "procrastinate_job_to_defer_v1"
        rows = f"ARRAY(SELECT jsonb_populate_recordset(NULL::{job}, CAST(:jobs AS jsonb)))"
        jobs = json.dumps([each._asdict() for each in arguments["jobs"]], default=str)
        result = await connection.execute(text(query.replace("%(jobs)s", rows)), {"jobs": jobs})
        return [dict(row) for row in result.mappings()]


queue = App(connector=SessionConnector(conninfo=dsn))


@queue.task
async def pay(order_id: int) -> None:
    await pay_order(order_id)
